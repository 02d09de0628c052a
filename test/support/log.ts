/** A log that keeps what was said. */

import type { Logger } from '../../src/jobs.ts';

export type Line = { level: string; message: string | undefined; fields: Record<string, unknown> };

export function keepingLog(): Logger & { lines: Line[] } {
  const lines: Line[] = [];
  const at = (level: string) => (first: object | string, message?: string) => {
    if (typeof first === 'string') lines.push({ level, message: first, fields: {} });
    else lines.push({ level, message, fields: { ...first } });
  };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
