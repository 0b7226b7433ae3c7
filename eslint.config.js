import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

// + - * / and Math.sqrt are exact to the last bit on every machine; these are not, and JavaScript engines differ in them.
const inexact = [
  ['exp', 'expm1', 'log', 'log1p', 'log2', 'log10', 'pow', 'cbrt', 'hypot'],
  ['sin', 'cos', 'tan', 'asin', 'acos', 'atan', 'atan2', 'sinh', 'cosh', 'tanh', 'asinh', 'acosh', 'atanh'],
].flat();

export default defineConfig(
  { ignores: ['**/dist/', 'build/', 'native/', 'wasm/', 'node_modules/'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: 'error',
      'no-console': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/prefer-for-of': 'off',
      // Reading past an array's end is undefined at run time, whatever its type says: code checks for it.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
    },
  },
  {
    // Every number on the way to a weight has the same bits on every machine.
    files: ['src/**/*.ts'],
    ignores: ['src/reference.ts', 'src/cli/**', 'src/diagnostics/**', 'src/report/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        ...inexact.map((property) => ({ object: 'Math', property, message: 'Its bits depend on the machine; use a kernel of the plan.' })),
        { object: 'Math', property: 'random', message: 'One seed decides everything; use the Philox generator.' },
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector:
            "BinaryExpression[operator='**']:not([left.type='Literal'][right.raw=/^[0-9]+$/]), AssignmentExpression[operator='**=']",
          message: 'Its bits depend on the machine; multiply.',
        },
      ],
    },
  },
  {
    // The core runs in browsers as it is: what only Node has is reached through the platform.
    files: ['src/**/*.ts'],
    ignores: ['src/node/**', 'src/cli/**', 'src/report/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { regex: '^[^.]|/(?:node|cli)/(?!progress)', message: 'Browsers have neither packages nor Node: go through platform().' },
          ],
        },
      ],
      'no-restricted-globals': [
        'error',
        ...['process', 'Buffer', 'global', 'require', 'setImmediate'].map((name) => ({
          name,
          message: 'Node only: go through platform().',
        })),
      ],
    },
  },
  {
    files: ['src/index.ts', 'src/kernels.ts'],
    rules: { 'no-restricted-imports': 'off' },
  },
  {
    files: ['src/cli/**', 'src/browser/platform.ts', 'bench/**', 'examples/**'],
    rules: { 'no-console': 'off' },
  },
  {
    // Tests say what a value is by using it.
    files: ['test/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off', 'no-console': 'off' },
  },
);
