import { damaged } from './block.js';

export type PaxRecords = ReadonlyMap<string, Buffer>;

/** What the keys of extended attributes begin with. */
export const XATTR = 'SCHILY.xattr.';

/** Records of the form `LENGTH KEY=VALUE\n` (POSIX pax, "Extended Header"); values may be any bytes. */
export function parsePax(content: Buffer, where: string): PaxRecords {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(0x20, at);
    const length = space === -1 ? Number.NaN : Number(content.toString('latin1', at, space));
    const end = at + length;
    const equals = content.indexOf(0x3d, space);
    if (!(end <= content.length && length > 0 && equals > space && equals < end) || content[end - 1] !== 0x0a) {
      throw damaged(where, 'a pax record has a wrong length');
    }
    const key = content.toString('utf8', space + 1, equals);
    const value = content.subarray(equals + 1, end - 1);
    // Where a record stands for a field of the header, an empty value takes it back.
    if (value.length === 0 && !key.startsWith(XATTR)) records.delete(key);
    else records.set(key, value);
    at = end;
  }
  return records;
}

/** A number in a record; undefined where there is no such record. */
export function decimal(pax: PaxRecords, key: string, where: string): number | undefined {
  const value = pax.get(key)?.toString();
  if (value === undefined) return undefined;
  if (!/^-?\d+(?:\.\d*)?$/.test(value)) throw damaged(where, `${key} is no number`);
  return Number(value);
}
