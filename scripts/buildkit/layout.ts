import { createHash } from 'node:crypto';
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

// Reads and changes cache folders by hand: the checks do not trust bkcache with that.

/** A descriptor, as far as the checks look into one. */
export interface Entry {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface Index {
  readonly manifests: readonly Entry[];
}

export function blobPath(folder: string, { digest }: Pick<Entry, 'digest'>): string {
  return join(folder, 'blobs', digest.replace(':', '/'));
}

/** What index.json lists. */
export async function entriesOf(folder: string): Promise<readonly Entry[]> {
  return (JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as Index).manifests;
}

/** The tags in index.json, in order. */
export async function tagsOf(folder: string): Promise<string[]> {
  return (await entriesOf(folder)).map(({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] ?? '');
}

/** The diffIDs of the layers of a cache, as its manifest or index has them. */
export async function diffIDsIn(folder: string, tag: string): Promise<string[]> {
  const entry = (await entriesOf(folder)).find(
    ({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] === tag,
  );
  if (entry === undefined) throw new Error(`${folder} has no tag ${tag}`);
  const { layers, manifests = [] } = await readJson<{ layers?: Entry[]; manifests?: Entry[] }>(folder, entry);
  return (layers ?? manifests).flatMap(({ annotations }) => annotations?.['containerd.io/uncompressed'] ?? []);
}

/** Changes what index.json lists. */
export async function editEntries(
  folder: string,
  edit: (entries: readonly Entry[]) => readonly Entry[],
): Promise<void> {
  const path = join(folder, 'index.json');
  const index = JSON.parse(await readFile(path, 'utf8')) as Index;
  await writeFile(path, JSON.stringify({ ...index, manifests: edit(index.manifests) }));
}

export async function removeBlob(folder: string, blob: Pick<Entry, 'digest'>): Promise<void> {
  await rm(blobPath(folder, blob));
}

export async function readText(folder: string, blob: Pick<Entry, 'digest'>): Promise<string> {
  return readFile(blobPath(folder, blob), 'utf8');
}

export async function readJson<T>(folder: string, blob: Pick<Entry, 'digest'>): Promise<T> {
  return JSON.parse(await readText(folder, blob)) as T;
}

/** Writes a blob, and gives back its digest and size. */
export async function writeText(folder: string, text: string): Promise<Pick<Entry, 'digest' | 'size'>> {
  const bytes = Buffer.from(text);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await writeFile(blobPath(folder, { digest }), bytes);
  return { digest, size: bytes.length };
}

/** Writes a blob, and gives back its descriptor. */
export async function writeBlob(folder: string, mediaType: string, content: object): Promise<Entry> {
  return { mediaType, ...(await writeText(folder, JSON.stringify(content))) };
}

/** Turns a few bits in the middle of a blob; its size stays. */
export async function damageBlob(folder: string, blob: Pick<Entry, 'digest'>): Promise<void> {
  const path = blobPath(folder, blob);
  const { mode } = await stat(path);
  const bytes = await readFile(path);
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 0x55;
  await chmod(path, 0o644);
  await writeFile(path, bytes);
  await chmod(path, mode);
}
