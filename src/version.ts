// The package's version, as model files and `gradmill --version` state it; a test compares it with package.json.
export const VERSION = '0.1.0';
