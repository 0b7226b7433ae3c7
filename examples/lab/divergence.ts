// Runs that may stop being finite: in the lab that is a result like another.
import { GradmillError, type Sequential } from 'gradmill';

/** What the work on a model gives, or the error where a number stopped being finite. The model is disposed of. */
export async function orDiverged<Result>(model: Sequential, work: () => Promise<Result>): Promise<Result | GradmillError> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof GradmillError && error.code === 'diverged') return error;
    throw error;
  } finally {
    model.dispose();
  }
}
