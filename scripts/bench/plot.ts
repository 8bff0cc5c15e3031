import type { Level } from './levels.js';

const [WIDTH, HEIGHT] = [720, 440];
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 20, 44, 52];
const COLOURS: Readonly<Record<string, string>> = { gzip: '#b45309', estargz: '#7c3aed', zstd: '#0369a1' };

/** Size against time, a line for each compression and a point for each level; time on a logarithmic scale. */
export function plot(levels: readonly Level[], tarSize: number): string {
  const times = levels.map(({ time }) => time);
  const [fastest, slowest] = [Math.log10(Math.min(...times) / 1.3), Math.log10(Math.max(...times) * 1.3)];
  const shares = levels.map(({ size }) => (size / tarSize) * 100);
  const [least, most] = [Math.floor(Math.min(...shares) - 1), Math.ceil(Math.max(...shares) + 1)];
  const x = (time: number) => LEFT + ((Math.log10(time) - fastest) / (slowest - fastest)) * (WIDTH - LEFT - RIGHT);
  const y = (size: number) =>
    HEIGHT - BOTTOM - (((size / tarSize) * 100 - least) / (most - least)) * (HEIGHT - TOP - BOTTOM);

  const shapes: string[] = [];
  for (const seconds of [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]) {
    const at = x(seconds).toFixed(1);
    if (Math.log10(seconds) < fastest || Math.log10(seconds) > slowest) continue;
    shapes.push(
      `<line x1="${at}" x2="${at}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" class="grid"/>`,
      `<text x="${at}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${seconds}</text>`,
    );
  }
  for (let share = least; share <= most; share += Math.max(1, Math.round((most - least) / 8))) {
    const at = y((share / 100) * tarSize).toFixed(1);
    shapes.push(
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" class="grid"/>`,
      `<text x="${LEFT - 8}" y="${Number(at) + 4}" text-anchor="end">${share} %</text>`,
    );
  }
  for (const [index, [compression, colour]] of Object.entries(COLOURS).entries()) {
    const points = levels.filter((level) => level.compression === compression);
    const line = points.map(({ time, size }) => `${x(time).toFixed(1)},${y(size).toFixed(1)}`).join(' ');
    shapes.push(`<polyline points="${line}" fill="none" stroke="${colour}"/>`);
    for (const { time, size, level } of points) {
      const [cx, cy] = [x(time).toFixed(1), y(size).toFixed(1)];
      shapes.push(
        `<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`,
        `<text x="${cx}" y="${Number(cy) - 7}" text-anchor="middle" fill="${colour}">${level}</text>`,
      );
    }
    shapes.push(`<text x="${LEFT + index * 80}" y="20" fill="${colour}" font-weight="bold">${compression}</text>`);
  }
  shapes.push(
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 12}" text-anchor="middle">seconds</text>`,
    `<text x="${WIDTH - RIGHT}" y="20" text-anchor="end">size of the blob, of ${(tarSize / 1e6).toFixed(0)} MB of tar; the numbers are levels</text>`,
  );
  const style = 'text{font:12px sans-serif}.grid{stroke:#ddd}polyline{stroke-width:1.5}';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}">`,
    `<style>${style}</style><rect width="100%" height="100%" fill="#fff"/>`,
    ...shapes,
    '</svg>',
    '',
  ].join('\n');
}
