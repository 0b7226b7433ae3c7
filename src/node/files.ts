// Files: read whole, written atomically. What goes wrong is a GradmillError 'file-io' that names the path.
import { access, constants, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { GradmillError } from '../errors.js';
import type { Appender } from '../platform.js';

/** The bytes of a regular file: a pipe or device could block or never end. Errors are 'file-io' with the path. */
export async function readRegularFile(path: string, mostBytes = Infinity): Promise<Uint8Array> {
  try {
    const stats = await stat(path);
    if (!stats.isFile()) throw new GradmillError('file-io', `cannot read '${path}': not a regular file`);
    if (stats.size > mostBytes)
      throw new GradmillError('size-overflow', `'${path}' has ${stats.size} bytes, more than the ${mostBytes} that are read`);
    const file = await open(path, 'r');
    try {
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof GradmillError) throw error;
    throw new GradmillError('file-io', `cannot read '${path}': ${systemReason(error)}`, { cause: error });
  }
}

/**
 * Writes the chunks to `path` so that a reader, or a crash at any moment, meets either the old file or the whole new
 * one: a temporary file in the same folder is written, flushed to the disk and renamed.
 */
export async function writeFileAtomic(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  let temporary: string | undefined;
  try {
    const target = await replaceableTarget(path);
    const folder = dirname(target);
    // The global: node:crypto would be loaded with this module, which takes as long as all of gradmill's.
    const name = join(folder, `.gradmill-${crypto.randomUUID()}.tmp`);
    const file = await open(name, 'wx');
    temporary = name;
    try {
      for (const chunk of chunks) await file.writeFile(chunk);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(name, target);
    temporary = undefined;
    await syncFolder(folder);
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { force: true }).catch(() => undefined);
    if (error instanceof GradmillError) throw error;
    throw new GradmillError('file-io', `cannot write '${path}': ${systemReason(error)}`, { cause: error });
  }
}

/** @throws GradmillError 'file-io' where it cannot be found out */
export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return false;
    throw new GradmillError('file-io', `cannot read '${path}': ${systemReason(error)}`, { cause: error });
  }
}

/** @throws GradmillError 'file-io' */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw new GradmillError('file-io', `cannot make the folder '${path}': ${systemReason(error)}`, { cause: error });
  }
}

/** A file to which lines are added, as platform.ts describes it. An existing one that does not begin with `header` is left alone. */
export async function openToAppend(path: string, header: string): Promise<Appender> {
  const attempt = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action();
    } catch (error) {
      if (error instanceof GradmillError) throw error;
      throw new GradmillError('file-io', `cannot write '${path}': ${systemReason(error)}`, { cause: error });
    }
  };
  const file = await attempt(() => open(path, 'a+'));
  try {
    await attempt(async () => {
      const stats = await file.stat();
      if (!stats.isFile()) throw new GradmillError('file-io', `cannot write '${path}': exists and is not a regular file`);
      if (stats.size === 0) return;
      const start = await file.read({ buffer: Buffer.alloc(header.length), position: 0 });
      if (start.buffer.toString('latin1', 0, start.bytesRead) !== header)
        throw new GradmillError('file-io', `cannot write '${path}': exists and is not a log of gradmill`);
      const end = await file.read({ buffer: Buffer.alloc(1), position: stats.size - 1 });
      if (end.buffer.toString('latin1') !== '\n') await file.appendFile('\n');
    });
  } catch (error) {
    await file.close();
    throw error;
  }
  return {
    append: (text) => attempt(() => file.appendFile(text)),
    close: () =>
      attempt(async () => {
        try {
          await file.sync();
        } finally {
          await file.close();
        }
      }),
  };
}

/** Throws what writeFileAtomic(path, …) would, as far as can be known before: for those who compute for minutes first. */
export async function checkWritable(path: string): Promise<void> {
  try {
    await access(dirname(await replaceableTarget(path)), constants.W_OK);
  } catch (error) {
    if (error instanceof GradmillError) throw error;
    throw new GradmillError('file-io', `cannot write '${path}': ${systemReason(error)}`, { cause: error });
  }
}

/** Where the new file must be renamed to. Renaming over a symbolic link would replace the link; over a device, the device. */
async function replaceableTarget(path: string): Promise<string> {
  let target: string;
  try {
    target = await realpath(path);
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return path;
    throw error;
  }
  if (!(await stat(target)).isFile()) {
    throw new GradmillError('file-io', `cannot write '${path}': exists and is not a regular file`);
  }
  return target;
}

/** Makes the rename itself durable. Some systems cannot open or flush a folder; the file is complete without it. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    return;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error;
}

/** 'no such file or directory (ENOENT)', of Node's 'ENOENT: no such file or directory, open …', which would name the temporary file. */
function systemReason(error: unknown): string {
  if (!isSystemError(error)) return String(error);
  const [, code, reason] = /^([A-Z]\w*): ([^,]+), \w+/.exec(error.message) ?? [];
  return reason === undefined || code !== error.code ? error.message : `${reason} (${code})`;
}
