/** The names of limits and keys as people read them (`runs.tag.customer=*{default,acme}`), the same everywhere. */

/** A tag's value, a job, a deployment as part of a name: as it is, or as a JSON string if that would be ambiguous. */
export function written(value: string): string {
  return /^[A-Za-z0-9_./:@+-]+$/.test(value) ? value : JSON.stringify(value);
}

/**
 * The name of a key: its limit's name, and in braces the values that the limit groups by, in the order of its `per`.
 * A limit that does not group has one key, which is called as the limit.
 */
export function writtenName(name: string, values: readonly string[] = []): string {
  return values.length === 0 ? name : `${name}{${values.map(written).join(',')}}`;
}
