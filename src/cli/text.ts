/** Text that came from elsewhere, made safe to print: no control character of it reaches the terminal. */

// Control characters save line breaks, line separators, and what turns the direction of writing.
const harmful = /[[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]--\n]/gv;

const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Text of several lines. */
export function harmlessLines(text: string): string {
  return text.replaceAll(harmful, escaped);
}

/** Text as one line: its line breaks are shown as `\n`. */
export function harmless(text: string): string {
  return harmlessLines(text).replaceAll('\n', '\\n');
}

/** A template of ours; what is put into it is made harmless. */
export function line(texts: TemplateStringsArray, ...values: readonly unknown[]): string {
  return texts.reduce((before, text, i) => `${before}${harmless(shownValue(values[i - 1]))}${text}`);
}

/** JSON on as many lines as it needs. It parses to the same value: what is harmful is written as `\uXXXX`. */
export function json(value: unknown): string {
  return harmlessLines(JSON.stringify(value, null, 2));
}

/** A value from the database as people read it; nothing is a dash. */
export function shownValue(value: unknown): string {
  if (value === null || value === undefined || value === '') return '-';
  if (value instanceof Date) return shownTime(value);
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(shownValue).join(', ');
  if (typeof value !== 'object') return String(value);
  const pairs = Object.entries(value);
  return pairs.length === 0 ? '-' : pairs.map(([key, each]) => `${key}=${shownMember(each)}`).join(' ');
}

const shownMember = (value: unknown) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

/** A time in UTC, to the second. */
export function shownTime(time: Date): string {
  return Number.isNaN(time.getTime()) ? '-' : time.toISOString().replace('T', ' ').replace(/\.\d+/, '');
}

/** How long it lasted, in its two greatest units. */
export function shownDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1_000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h ${Math.floor((seconds % 3_600) / 60)}m`;
  return `${Math.floor(seconds / 86_400)}d ${Math.floor((seconds % 86_400) / 3_600)}h`;
}

/** Cut where it is long. */
export function cut(text: string, length = 80): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
