// Strokes by hand: two sheets, what to include and what to exclude, white on nothing. A stroke is a list of points and is
// played again for undo; the oldest are baked in so that the list stays short.

const STROKE_SIDE = 1024;
const STROKES_KEPT = 100;

class Strokes {
  constructor() {
    this.resize(1, 1);
  }

  /** Begin anew for a picture of this size. */
  resize(width, height) {
    const scale = Math.min(1, STROKE_SIDE / Math.max(width, height));
    this.width = Math.max(1, Math.round(width * scale));
    this.height = Math.max(1, Math.round(height * scale));
    this.include = sheet(this.width, this.height, true);
    this.exclude = sheet(this.width, this.height, true);
    this.base = [sheet(this.width, this.height, true), sheet(this.width, this.height, true)];
    this.baked = false;
    this.done = [];
    this.undone = [];
    this.open = null;
  }

  /** Take strokes from images (white on black, or null) in place of all there are. */
  replace(include, exclude) {
    this.resize(this.width, this.height);
    [include, exclude].forEach((image, i) => {
      if (!image) return;
      this.base[i].drawImage(image, 0, 0, this.width, this.height);
      const pixels = this.base[i].getImageData(0, 0, this.width, this.height);
      for (let at = 0; at < pixels.data.length; at += 4) {
        pixels.data[at + 3] = pixels.data[at];
        pixels.data.fill(255, at, at + 3);
      }
      this.base[i].putImageData(pixels, 0, 0);
      this.baked = true;
    });
    this.play();
  }

  /** Strokes that count: those since the last clearing. */
  get count() {
    const cleared = this.done.findLastIndex((stroke) => stroke.tool === 'clear');
    return this.done.length - 1 - cleared + (cleared < 0 && this.baked ? 1 : 0);
  }

  begin(tool, diameter, x, y) {
    const width = diameter * Math.max(this.width, this.height);
    this.open = { tool, width: Math.max(1, width), points: [x * this.width, y * this.height] };
    this.segment(this.open, 0);
  }

  extend(x, y) {
    if (!this.open) return;
    const { points } = this.open;
    points.push(x * this.width, y * this.height);
    this.segment(this.open, points.length - 2);
  }

  finish() {
    if (!this.open) return;
    this.keep(this.open);
    this.open = null;
  }

  drop() {
    if (!this.open) return;
    this.open = null;
    this.play();
  }

  clear() {
    this.keep({ tool: 'clear' });
    this.play();
  }

  undo() {
    if (!this.done.length) return false;
    this.undone.push(this.done.pop());
    this.play();
    return true;
  }

  redo() {
    if (!this.undone.length) return false;
    this.done.push(this.undone.pop());
    this.play();
    return true;
  }

  keep(stroke) {
    this.done.push(stroke);
    this.undone = [];
    if (this.done.length <= STROKES_KEPT) return;
    const oldest = this.done.shift();
    this.draw(oldest, ...this.base);
    this.baked = oldest.tool !== 'clear';
  }

  /** Draw everything again. */
  play() {
    [this.include, this.exclude].forEach((context, i) => {
      context.clearRect(0, 0, this.width, this.height);
      context.drawImage(this.base[i].canvas, 0, 0);
    });
    this.done.forEach((stroke) => this.draw(stroke, this.include, this.exclude));
  }

  draw(stroke, include, exclude) {
    if (stroke.tool === 'clear') {
      include.clearRect(0, 0, this.width, this.height);
      exclude.clearRect(0, 0, this.width, this.height);
    } else {
      for (let at = 0; at < stroke.points.length; at += 2) this.segment(stroke, at, include, exclude);
    }
  }

  /** Draw one line of a stroke: onto its own sheet, and out of the other. */
  segment(stroke, at, include = this.include, exclude = this.exclude) {
    const { points, tool, width } = stroke;
    const from = Math.max(0, at - 2);
    [include, exclude].forEach((context, i) => {
      context.globalCompositeOperation = (i === 0) === (tool === 'add') ? 'source-over' : 'destination-out';
      context.fillStyle = '#fff';
      context.strokeStyle = '#fff';
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(points[from], points[from + 1]);
      context.lineTo(points[at], points[at + 1]);
      context.stroke();
      // A disc of its own: a line without length has no round ends.
      context.beginPath();
      context.arc(points[at], points[at + 1], width / 2, 0, 2 * Math.PI);
      context.fill();
      context.globalCompositeOperation = 'source-over';
    });
  }

  /** Return both sheets as data addresses of opaque PNGs, white on black; null where there is nothing. */
  urls() {
    const [include, exclude] = [this.include, this.exclude].map((context) => this.url(context));
    return { include, exclude };
  }

  /** Black or white, as a brush has no half measures; soft rims are for the eye. No pixel is white on both sheets. */
  url(context) {
    const pixels = context.getImageData(0, 0, this.width, this.height);
    const { data } = pixels;
    let any = false;
    for (let at = 0; at < data.length; at += 4) {
      const inside = data[at + 3] > 127;
      any ||= inside;
      data.fill(inside ? 255 : 0, at, at + 3);
      data[at + 3] = 255;
    }
    if (!any) return null;
    const opaque = sheet(this.width, this.height, true);
    opaque.putImageData(pixels, 0, 0);
    return opaque.canvas.toDataURL('image/png');
  }
}
