/** Read the alpha of an image, with a margin of one empty pixel; longest side at most 1,024. */
function alphaOf(image) {
  const scale = Math.min(1, 1024 / Math.max(image.naturalWidth, image.naturalHeight));
  const width = Math.max(1, Math.round(image.naturalWidth * scale));
  const height = Math.max(1, Math.round(image.naturalHeight * scale));
  const context = sheet(width, height, true);
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const grid = new Uint8Array((width + 2) * (height + 2));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) grid[(y + 1) * (width + 2) + x + 1] = data[4 * (y * width + x) + 3];
  }
  return { grid, width, height };
}

// Marching squares. The corners of a cell are numbered clockwise from the top left (1, 2, 4, 8); for each set of
// corners inside, the lines through the cell from edge to edge (0 top, 1 right, 2 bottom, 3 left), inside on the left.
const CELL_LINES = [
  [], [3, 0], [0, 1], [3, 1], [1, 2], [3, 0, 1, 2], [0, 2], [3, 2],
  [2, 3], [2, 0], [0, 1, 2, 3], [2, 1], [1, 3], [1, 0], [0, 3], [],
];

/** Link every edge that a contour crosses to the next one; edge 2i runs right from grid point i, edge 2i + 1 down. */
function crossings(grid, across, down) {
  const next = new Int32Array(2 * across * down).fill(-1);
  for (let y = 0; y + 1 < down; y++) {
    for (let x = 0; x + 1 < across; x++) {
      const at = y * across + x;
      const cell = (grid[at] > 127) | ((grid[at + 1] > 127) << 1)
        | ((grid[at + across + 1] > 127) << 2) | ((grid[at + across] > 127) << 3);
      if (cell === 0 || cell === 15) continue;
      const edges = [2 * at, 2 * (at + 1) + 1, 2 * (at + across), 2 * at + 1];
      const lines = CELL_LINES[cell];
      for (let i = 0; i < lines.length; i += 2) next[edges[lines[i]]] = edges[lines[i + 1]];
    }
  }
  return next;
}

/** Return where alpha passes one half as a closed path on the unit square. */
function contour(image) {
  const { grid, width, height } = alphaOf(image);
  const across = width + 2;
  const next = crossings(grid, across, height + 2);
  const path = new Path2D();
  for (let start = 0; start < next.length; start++) {
    if (next[start] < 0) continue;
    let edge = start;
    let first = true;
    while (next[edge] >= 0) {
      const at = edge >> 1;
      const step = edge & 1 ? across : 1;
      const share = (127.5 - grid[at]) / (grid[at + step] - grid[at]);
      const x = (at % across) - 0.5 + (edge & 1 ? 0 : share);
      const y = Math.floor(at / across) - 0.5 + (edge & 1 ? share : 0);
      if (first) path.moveTo(x / width, y / height);
      else path.lineTo(x / width, y / height);
      first = false;
      const following = next[edge];
      next[edge] = -1;
      edge = following;
    }
    path.closePath();
  }
  return path;
}

/** Return the context of a new canvas. */
function sheet(width, height, read = false) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext('2d', { willReadFrequently: read });
}
