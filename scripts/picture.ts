/**
 * `node scripts/picture.ts FRAME docs/running.svg`: draws text from a terminal, with its colours, as a picture. FRAME is
 * the output of `tmux capture-pane -e -p` while `npm start` runs in a window of 104 columns.
 */

import { readFileSync, writeFileSync } from 'node:fs';

type Style = { color: string; dim: boolean; bold: boolean };
type Piece = { column: number; text: string; style: Style };

const cellWidth = 8.4;
const lineHeight = 19;
const margin = 20;
const background = '#16181d';
const plain: Style = { color: '#d7dae0', dim: false, bold: false };
const colors: Record<number, string> = {
  31: '#ff6b6b',
  32: '#7bc86c',
  33: '#f2c55c',
  34: '#6aa8ff',
  36: '#5cc8d7',
};

/** What one code of an escape sequence makes of a style. */
function changed(style: Style, code: number): Style {
  if (code === 0) return plain;
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, dim: true };
  if (code === 22) return { ...style, bold: false, dim: false };
  if (code === 39) return { ...style, color: plain.color };
  return { ...style, color: colors[code] ?? style.color };
}

/** Texts with the codes before each: `ESC [ 1 ; 32 m text`. */
function partsOf(line: string): { codes: number[]; text: string }[] {
  const [first = '', ...others] = line.split('\u001b[');
  const parts = others.map((part) => {
    const end = part.indexOf('m');
    return { codes: part.slice(0, end).split(';').map(Number), text: part.slice(end + 1) };
  });
  return [{ codes: [], text: first }, ...parts];
}

/** The pieces of each line; a style goes on into the next line until it is changed. */
function piecesOf(frame: string): Piece[][] {
  let style = plain;
  return frame.split('\n').map((line) => {
    let column = 0;
    const pieces: Piece[] = [];
    for (const { codes, text } of partsOf(line)) {
      for (const code of codes) style = changed(style, code);
      if (text.trim() !== '') pieces.push({ column, text, style });
      column += [...text].length;
    }
    return pieces;
  });
}

const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Blocks and lines are drawn as shapes, so that they join whatever the font is. */
function drawn({ column, text, style }: Piece, line: number): string {
  const opacity = style.dim ? ' opacity="0.55"' : '';
  const y = margin + line * lineHeight;
  return text.split(/(█+|░+|━+)/).reduce(
    ({ svg, at }, run) => {
      const x = margin + at * cellWidth;
      const width = [...run].length * cellWidth;
      return { svg: svg + shape(run, { x, y, width }, style, opacity), at: at + [...run].length };
    },
    { svg: '', at: column },
  ).svg;
}

function shape(
  run: string,
  { x, y, width }: { x: number; y: number; width: number },
  { color, bold }: Style,
  opacity: string,
): string {
  const place = `x="${x.toFixed(1)}" width="${width.toFixed(1)}"`;
  if (run.startsWith('█')) return `<rect ${place} y="${y + 3}" height="13" fill="${color}"${opacity}/>`;
  if (run.startsWith('░')) return `<rect ${place} y="${y + 3}" height="13" fill="${color}" opacity="0.14"/>`;
  if (run.startsWith('━')) return `<rect ${place} y="${y + 8}" height="3" fill="${color}"${opacity}/>`;
  if (run.trim() === '') return '';
  const before = run.length - run.trimStart().length;
  const shown = run.trim();
  const weight = bold ? ' font-weight="bold"' : '';
  return (
    `<text x="${(x + before * cellWidth).toFixed(1)}" y="${y + 14}" fill="${color}"${opacity}${weight}` +
    ` textLength="${([...shown].length * cellWidth).toFixed(1)}" lengthAdjust="spacingAndGlyphs">${escaped(shown)}</text>`
  );
}

function svgOf(frame: string): string {
  const lines = piecesOf(frame);
  while (lines.at(-1)?.length === 0) lines.pop();
  while (lines[0]?.length === 0) lines.shift();
  const columns = Math.max(...lines.flat().map(({ column, text }) => column + [...text.trimEnd()].length));
  const width = Math.ceil(columns * cellWidth + 2 * margin);
  const height = lines.length * lineHeight + 2 * margin;
  const body = lines.flatMap((pieces, line) => pieces.map((piece) => drawn(piece, line)));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`,
    ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14" xml:space="preserve">',
    '<title>Lockkeeper running its example: each limit with its use and what waits for it</title>',
    `<rect width="${width}" height="${height}" rx="8" fill="${background}"/>`,
    ...body.filter((shapes) => shapes !== ''),
    '</svg>\n',
  ].join('\n');
}

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  console.error('Which files? node scripts/picture.ts FRAME PICTURE.svg');
  process.exitCode = 1;
} else {
  writeFileSync(to, svgOf(readFileSync(from, 'utf8')));
}
