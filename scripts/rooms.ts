import { readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

// The rooms of src/, and the picture of what they import, which stands in ARCHITECTURE.md and is written by `npm run rooms`.

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const ARCHITECTURE = join(ROOT, 'ARCHITECTURE.md');
const SRC = join(ROOT, 'src');

/** In order: a file imports from its own room and from the rooms before it. */
export const ROOMS: readonly string[] = [
  'errors.ts',
  'nearest.ts',
  'calls.ts',
  'bytes',
  'oci',
  'tar',
  'buildkit',
  'graph',
  'thread',
  'codec',
  'delta',
  'layout',
  'net',
  'session.ts',
  'backend',
  'operations',
  'report',
  'serve',
  'cli',
  'index.ts',
];

/** An import of one file of src/ by another; both paths are relative to src/. */
export interface Import {
  readonly file: string;
  readonly imported: string;
}

/** All imports inside src/: also those of types, those at first use, and those without a name. */
export function readImports(): Import[] {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  return files.flatMap((file) => {
    const text = readFileSync(join(SRC, file), 'utf8');
    return Array.from(text.matchAll(/(?:from |import |import\(|new URL\()'(\.[^']+)\.js'/g), ([, target = '']) => ({
      file,
      imported: relative(SRC, join(SRC, dirname(file), `${target}.ts`)),
    }));
  });
}

/** The room that a file of src/ is in. */
export function roomOf(file: string): string {
  return file.split('/')[0] ?? '';
}

/** A Mermaid chart: an arrow from each room to those that it imports, but for rooms that another arrow leads to anyway. */
export function picture(imports: readonly Import[]): string {
  const direct = new Map(ROOMS.map((room) => [room, new Set<string>()]));
  for (const { file, imported } of imports) {
    if (roomOf(file) !== roomOf(imported)) direct.get(roomOf(file))?.add(roomOf(imported));
  }
  const reached = new Map<string, ReadonlySet<string>>();
  const lines: string[] = [];
  for (const [room, others] of direct) {
    const below = new Set([...others].flatMap((other) => [...(reached.get(other) ?? [])]));
    reached.set(room, new Set([...others, ...below]));
    const shown = ROOMS.filter((other) => others.has(other) && !below.has(other));
    lines.push(...shown.map((other) => `  ${nodeOf(room)} --> ${nodeOf(other)}`));
  }
  return ['```mermaid', 'flowchart TD', ...lines.toReversed(), '```'].join('\n');
}

function nodeOf(room: string): string {
  return room.replace('.ts', '');
}

/** The text of ARCHITECTURE.md with a picture in the place of the one that it has. */
export function withPicture(text: string, chart: string): string {
  return text.replace(/```mermaid\n[^]*?```/, () => chart);
}

const script = process.argv[1];
if (script !== undefined && realpathSync(script) === fileURLToPath(import.meta.url)) {
  writeFileSync(ARCHITECTURE, withPicture(readFileSync(ARCHITECTURE, 'utf8'), picture(readImports())));
}
