// The board: picture, heat map, region and strokes on one canvas at the display's own resolution.

const HATCH = { ground: 'rgba(217, 84, 30, 0.5)', line: 'rgba(90, 25, 0, 0.9)' };
const INCLUDE = 'rgba(0, 160, 135, 0.55)';

class Board {
  constructor(canvas, strokes) {
    this.context = canvas.getContext('2d');
    this.canvas = canvas;
    this.strokes = strokes;
    this.layers = { heat: true, outline: true, strokes: true, dim: false };
    this.set({ picture: null, heat: null, mask: null, wide: null });
  }

  /** Take other images (each an image or null). */
  set({ picture, heat, mask, wide }) {
    if (mask !== this.mask) this.path = mask ? contour(mask) : null;
    if (wide !== this.wide) this.widePath = wide ? contour(wide) : null;
    this.picture = picture;
    this.heat = heat;
    this.mask = mask;
    this.wide = wide;
    this.grounds = {};
  }

  get ratio() {
    return Math.min(3, window.devicePixelRatio || 1);
  }

  /** Fit the canvas to its box; true where that changed its size. */
  fit() {
    const box = this.canvas.getBoundingClientRect();
    const width = Math.max(1, Math.round(box.width * this.ratio));
    const height = Math.max(1, Math.round(box.height * this.ratio));
    if (width === this.canvas.width && height === this.canvas.height) return false;
    this.canvas.width = width;
    this.canvas.height = height;
    this.grounds = {};
    return true;
  }

  get heatShown() {
    return Boolean(this.heat && this.layers.heat);
  }

  /** Draw at the next frame; many calls make one drawing. */
  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { context } = this;
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    if (!this.picture) return;
    context.drawImage(this.ground(this.heatShown), 0, 0);
    context.imageSmoothingQuality = 'high';
    if (this.heatShown) context.drawImage(this.heat, 0, 0, width, height);
    if (this.mask && this.layers.dim) this.drawDim(width, height);
    if (this.layers.strokes) this.drawStrokes(width, height);
    if (!this.layers.outline) return;
    if (this.widePath) this.drawWide(width, height);
    if (this.path) this.drawOutline(width, height);
  }

  /** The picture at the canvas's size, on a chequered ground where it is transparent. */
  ground(grey) {
    if (this.grounds[grey]) return this.grounds[grey];
    const { width, height } = this.canvas;
    const context = sheet(width, height);
    context.fillStyle = this.chequers();
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    context.drawImage(this.picture, 0, 0, width, height);
    if (grey) {
      context.globalCompositeOperation = 'saturation';
      context.fillStyle = '#808080';
      context.fillRect(0, 0, width, height);
    }
    this.grounds[grey] = context.canvas;
    return context.canvas;
  }

  chequers() {
    const side = Math.round(8 * this.ratio);
    const tile = sheet(2 * side, 2 * side);
    tile.fillStyle = '#fff';
    tile.fillRect(0, 0, 2 * side, 2 * side);
    tile.fillStyle = '#d0d0d0';
    tile.fillRect(0, 0, side, side);
    tile.fillRect(side, side, side, side);
    return this.context.createPattern(tile.canvas, 'repeat');
  }

  hatching() {
    const side = Math.round(7 * this.ratio);
    const tile = sheet(side, side);
    tile.fillStyle = HATCH.ground;
    tile.fillRect(0, 0, side, side);
    tile.strokeStyle = HATCH.line;
    tile.lineWidth = 1.4 * this.ratio;
    tile.beginPath();
    for (const shift of [-side, 0, side]) {
      tile.moveTo(shift - 1, side + 1);
      tile.lineTo(shift + side + 1, -1);
    }
    tile.stroke();
    return this.context.createPattern(tile.canvas, 'repeat');
  }

  drawDim(width, height) {
    const dim = sheet(width, height);
    dim.fillStyle = 'rgba(0, 0, 0, 0.5)';
    dim.fillRect(0, 0, width, height);
    dim.globalCompositeOperation = 'destination-out';
    dim.drawImage(this.mask, 0, 0, width, height);
    this.context.drawImage(dim.canvas, 0, 0);
  }

  drawStrokes(width, height) {
    if (!this.strokes.count && !this.strokes.open) return;
    this.tint ??= sheet(width, height);
    const { tint } = this;
    if (tint.canvas.width !== width || tint.canvas.height !== height) {
      tint.canvas.width = width;
      tint.canvas.height = height;
    }
    for (const [source, paint] of [[this.strokes.include, INCLUDE], [this.strokes.exclude, this.hatching()]]) {
      tint.globalCompositeOperation = 'copy';
      tint.imageSmoothingQuality = 'high';
      tint.drawImage(source.canvas, 0, 0, width, height);
      tint.globalCompositeOperation = 'source-in';
      tint.fillStyle = paint;
      tint.fillRect(0, 0, width, height);
      this.context.drawImage(tint.canvas, 0, 0);
    }
  }

  /** A thin, faint line around all that the decode frees. */
  drawWide(width, height) {
    const { context, ratio } = this;
    const path = new Path2D();
    path.addPath(this.widePath, new DOMMatrix([width, 0, 0, height, 0, 0]));
    context.save();
    context.lineWidth = ratio;
    for (const [colour, shift] of [['rgba(255, 255, 255, 0.75)', 0], ['rgba(0, 0, 0, 0.6)', 3 * ratio]]) {
      context.strokeStyle = colour;
      context.setLineDash([3 * ratio, 3 * ratio]);
      context.lineDashOffset = shift;
      context.stroke(path);
    }
    context.restore();
  }

  /** A white line with black dashes: one of them stands out on any ground. */
  drawOutline(width, height) {
    const { context, ratio } = this;
    const path = new Path2D();
    path.addPath(this.path, new DOMMatrix([width, 0, 0, height, 0, 0]));
    context.save();
    context.lineJoin = 'round';
    context.strokeStyle = '#fff';
    context.lineWidth = 2.4 * ratio;
    context.stroke(path);
    context.strokeStyle = '#000';
    context.lineWidth = 1.6 * ratio;
    context.setLineDash([5 * ratio, 4 * ratio]);
    context.stroke(path);
    context.restore();
  }
}
