// The brush: pointer and keyboard on the board, with a circle and a crosshair drawn on a canvas of their own.

class Brush {
  /**
   * @param {Strokes} strokes what is painted.
   * @param {Board} board where it is seen.
   * @param {() => boolean} free whether painting is allowed now.
   * @param {() => void} painted called after each stroke.
   */
  constructor(strokes, board, free, painted) {
    Object.assign(this, { strokes, board, free, painted });
    this.box = part('board');
    this.view = part('view');
    this.aim = part('aim').getContext('2d');
    this.slider = part('size');
    this.tool = 'look';
    this.cross = { x: 0.5, y: 0.5 };
    this.pointer = null;
    this.keyed = false;
    this.listen();
    this.choose('look');
  }

  /** Diameter as a share of the picture's longer side. */
  get size() {
    return Number(this.slider.value) / 100;
  }

  choose(tool) {
    if (this.strokes.open) return;
    this.tool = tool;
    this.box.dataset.tool = tool;
    element.querySelectorAll('[data-tool][aria-pressed]').forEach((button) => {
      button.setAttribute('aria-pressed', String(button.dataset.tool === tool));
    });
    this.mark();
  }

  resize(steps) {
    const step = this.size < 0.05 ? 0.5 : this.size < 0.15 ? 1 : 2;
    this.slider.value = Number(this.slider.value) + steps * step;
    this.sized();
  }

  sized() {
    this.slider.setAttribute('aria-valuetext', `${this.slider.value} %`);
    this.mark();
  }

  listen() {
    const { view } = this;
    view.addEventListener('pointerdown', (event) => this.down(event));
    view.addEventListener('pointermove', (event) => this.move(event));
    view.addEventListener('pointerup', (event) => this.up(event));
    view.addEventListener('pointercancel', () => this.cancel());
    view.addEventListener('pointerleave', () => this.at(null));
    view.addEventListener('keydown', (event) => this.key(event));
    for (const name of ['focus', 'blur']) {
      view.addEventListener(name, () => {
        this.keyed = name === 'focus' && view.matches(':focus-visible');
        this.mark();
      });
    }
    this.slider.addEventListener('input', () => this.sized());
    this.sized();
  }

  place(event) {
    const box = this.view.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  at(place) {
    this.pointer = place;
    this.mark();
  }

  down(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    this.view.focus({ preventScroll: true });
    this.keyed = false;
    this.at(this.place(event));
    if (this.tool === 'look' || !this.free()) return;
    event.preventDefault();
    this.view.setPointerCapture(event.pointerId);
    this.strokes.begin(this.tool, this.size, this.pointer.x, this.pointer.y);
    this.board.later();
  }

  move(event) {
    if (!event.isPrimary) return;
    this.at(this.place(event));
    if (!this.strokes.open) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const one of passed.length ? passed : [event]) {
      const { x, y } = this.place(one);
      this.strokes.extend(x, y);
    }
    this.board.later();
  }

  up(event) {
    if (!event.isPrimary || !this.strokes.open) return;
    this.cross = this.inside(this.place(event));
    this.strokes.finish();
    this.painted();
  }

  cancel() {
    this.strokes.drop();
    this.at(null);
    this.board.later();
  }

  inside({ x, y }) {
    return { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) };
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) this.steer(way[0], way[1], event.shiftKey ? 40 : 8);
    else if (event.key === ' ' || event.key === 'Enter') this.dab();
    else return;
    event.preventDefault();
    this.keyed = true;
    this.mark();
  }

  steer(right, down, pixels) {
    const box = this.view.getBoundingClientRect();
    const { x, y } = this.cross;
    this.cross = this.inside({ x: x + (right * pixels) / box.width, y: y + (down * pixels) / box.height });
  }

  dab() {
    const { x, y } = this.cross;
    const place = `${Math.round(100 * x)} % from the left, ${Math.round(100 * y)} % from the top`;
    if (this.tool === 'look') {
      say(`${place}. Choose Add (B) or Remove (E) to paint.`);
    } else if (this.free() && !this.strokes.open) {
      this.strokes.begin(this.tool, this.size, x, y);
      this.strokes.finish();
      this.painted();
      say(`${this.tool === 'add' ? 'Added' : 'Removed'} at ${place}.`);
    }
  }

  /** Draw the circle where the pointer is, the crosshair where the keyboard is. */
  mark() {
    const { aim, view } = this;
    const { width, height } = aim.canvas;
    if (width !== view.width || height !== view.height) {
      aim.canvas.width = view.width;
      aim.canvas.height = view.height;
    }
    aim.clearRect(0, 0, view.width, view.height);
    const painting = this.tool !== 'look';
    if (this.keyed) this.ring(this.cross, true, painting);
    else if (this.pointer && painting) this.ring(this.pointer, false, true);
  }

  ring({ x, y }, crossed, painting) {
    const { aim, view, board } = this;
    const [left, top] = [x * view.width, y * view.height];
    const radius = painting ? (this.size * Math.max(view.width, view.height)) / 2 : 0;
    const arm = 12 * board.ratio;
    aim.beginPath();
    if (painting) aim.arc(left, top, radius, 0, 2 * Math.PI);
    if (crossed) {
      aim.moveTo(left - arm, top);
      aim.lineTo(left + arm, top);
      aim.moveTo(left, top - arm);
      aim.lineTo(left, top + arm);
    }
    for (const [colour, wide] of [['#fff', 3.5], ['#000', 1.5]]) {
      aim.strokeStyle = colour;
      aim.lineWidth = wide * board.ratio;
      aim.stroke();
    }
  }
}
