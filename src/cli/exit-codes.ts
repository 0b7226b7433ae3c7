// What a gradmill process tells the shell.

export const exitCodes = {
  success: 0,
  failure: 1,
  /** A wrong command line. */
  usage: 2,
  /** 128 + SIGINT, as shells report it. */
  interrupted: 130,
} as const;
