// The stage: what a value of the server means, and what is sent back. `stage_*.js` hold the parts.

const root = element.querySelector('.stage');
const strokes = new Strokes();
const board = new Board(part('view'), strokes);
const images = new Map();

let turn = 0; // of the value being drawn; a later one wins
let known = null; // the strokes_key and picture that the strokes belong to
let sent = { include: null, exclude: null }; // strokes as last written into the value
let edition = 0; // counts changes of the strokes by hand
let repeated = 0; // edition that was sent again because an answer was older
let present = null; // the value as last taken or written here
let replaced; // id of the picture before one just uploaded (null: there was none), until the server has answered
let choosing = false; // the empty panel is shown although a picture is open
let opening = 0; // timer while a sample is being opened

/** Change the value; only the next event carries it to the server. */
function write(changes) {
  props.value = { ...props.value, ...changes };
  present = props.value;
}

function say(text) {
  part('said').textContent = text;
}

function free() {
  return Boolean(props.value.picture) && root.dataset.ready === 'true';
}

function hash(text) {
  let code = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) code = Math.imul(code ^ text.charCodeAt(i), 0x01000193);
  return (code >>> 0).toString(16);
}

/** Decode an image; the same address again gives the same image. */
function load(address, kind) {
  if (!address) return Promise.resolve(null);
  const had = images.get(kind);
  if (had?.address === address) return had.image;
  const node = new Image();
  node.src = address;
  const image = node.decode().then(() => node);
  images.set(kind, { address, image });
  image.catch(() => images.get(kind)?.image === image && images.delete(kind));
  return image;
}

function dataUrl(text) {
  return typeof text === 'string' && text.startsWith('data:image/png;base64,') ? text : null;
}

/** Bring the page in line with the value: what needs no image at once, the rest when all images are there. */
async function apply() {
  const { value } = props;
  const mine = ++turn;
  root.dataset.ready = 'false';
  arrange(value);
  const renewed = !known || known.key !== value.strokes_key || known.picture !== (value.picture?.id ?? null);
  const sameKey = known?.key === value.strokes_key;
  const given = renewed && !sameKey ? value.strokes ?? {} : {};
  if (renewed) strokes.drop();
  let loaded;
  try {
    loaded = await Promise.all([
      load(local(value.picture?.url), 'picture'),
      load(dataUrl(value.heat), 'heat'),
      load(dataUrl(value.mask), 'mask'),
      load(dataUrl(value.wide), 'wide'),
      load(dataUrl(given.include), 'include'),
      load(dataUrl(given.exclude), 'exclude'),
    ]);
  } catch {
    if (mine === turn) part('alert').textContent = 'The picture could not be shown. Open it again.';
    return;
  }
  if (mine !== turn) return;
  const [picture, heat, mask, wide, include, exclude] = loaded;
  board.set({ picture, heat, mask, wide });
  if (renewed) renew(value, include, exclude);
  else resend(value);
  board.fit();
  board.draw();
  root.dataset.outline = value.mask ? hash(value.mask) : '';
  root.dataset.wide = value.wide ? hash(value.wide) : '';
  root.dataset.ready = 'true';
  refresh();
}

/** Take over the strokes of the value: a new key, or another picture. */
function renew(value, include, exclude) {
  const sameKey = known?.key === value.strokes_key;
  strokes.resize(value.picture?.width ?? 1, value.picture?.height ?? 1);
  strokes.replace(include, exclude);
  known = { key: value.strokes_key, picture: value.picture?.id ?? null };
  sent = sameKey ? { include: null, exclude: null } : { include: null, exclude: null, ...value.strokes };
  if (sameKey) resend(value);
}

/** An answer may carry strokes older than those on the page: put these back, and have the region cut again once. */
function resend(value) {
  const given = value.strokes ?? {};
  if ((given.include ?? null) === sent.include && (given.exclude ?? null) === sent.exclude) return;
  write({ strokes: sent });
  repeatStroke();
}

/** Have the region cut once more with the strokes as they are. */
function repeatStroke() {
  if (!props.value.picture || repeated === edition || strokes.open) return;
  repeated = edition;
  trigger('stroke');
}

/** Write the strokes into the value and tell the server. */
function painted() {
  edition += 1;
  sent = strokes.urls();
  write({ strokes: sent });
  board.later();
  refresh();
  trigger('stroke');
}

/** Set everything that follows from the value alone. */
function arrange(value) {
  const { picture } = value;
  const shown = Boolean(picture) && !choosing;
  root.dataset.picture = picture?.id ?? '';
  part('empty').hidden = shown;
  part('work').hidden = !shown;
  part('back').hidden = !picture;
  arrangeSamples(value.samples ?? []);
  if (picture) {
    const size = `${picture.width} × ${picture.height}`;
    part('board').style.setProperty('--wide', picture.width / picture.height);
    put(part('name'), 'textContent', picture.name);
    part('name').title = picture.name;
    put(part('measure'), 'textContent', size);
    part('view').setAttribute('aria-label', `The picture ${picture.name}, ${size} pixels: paint the region here`);
    part('mask-link').href = `/wordbrush/mask/${encodeURIComponent(picture.id)}/mask.png?download=1`;
  }
  part('mask-link').hidden = !value.mask;
  refresh();
}

/** Buttons and attributes that follow from value, strokes and layers together. */
function refresh() {
  const { value } = props;
  const still = !value.picture;
  element.querySelectorAll('.work [data-tool], [data-part="size"]').forEach((node) => put(node, 'disabled', still));
  put(part('undo'), 'disabled', still || !strokes.done.length);
  put(part('redo'), 'disabled', still || !strokes.undone.length);
  put(part('clear'), 'disabled', still || !strokes.count);
  element.querySelectorAll('[data-sample]').forEach((node) => put(node, 'disabled', opening !== 0));
  const there = { heat: value.heat, outline: value.mask, dim: value.mask, strokes: strokes.count };
  element.querySelectorAll('[data-layer]').forEach((button) => {
    const { layer } = button.dataset;
    put(button, 'disabled', !there[layer]);
    button.setAttribute('aria-pressed', String(board.layers[layer]));
  });
  root.dataset.heat = board.heatShown ? 'on' : 'off';
  root.dataset.strokes = String(strokes.count);
  if (document.activeElement?.disabled && root.contains(document.activeElement)) part('view').focus({ preventScroll: true });
}

/** The server has read a picture: show it, and let the page know. */
function opened({ id, url, name, width, height }) {
  const here = root.contains(document.activeElement);
  const picture = { id, url, name, width, height };
  choosing = false;
  replaced = props.value.picture?.id ?? null;
  sent = { include: null, exclude: null };
  write({ picture, heat: null, mask: null, strokes: sent });
  apply();
  trigger('opened', { id });
  if (here) part('view').focus({ preventScroll: true });
}

function masked({ area, notes = [] }) {
  const told = notes.map((note) => ` Note: ${note}.`).join('');
  if (typeof area === 'number') say(`Mask taken: ${(100 * area).toFixed(1)} % of the picture.${told}`);
  trigger('masked', { id: props.value.picture.id });
}

/**
 * Take a value of the server. Work begun before another picture was opened or a version restored may answer after it:
 * its key is an older one. About the present picture its region counts, but not its strokes; about another, nothing.
 */
function take() {
  const { value } = props;
  const id = value.picture?.id ?? null;
  const older = value.strokes_key < present.strokes_key;
  const before = replaced !== undefined && id === replaced && value.strokes_key === present.strokes_key;
  if (before || (older && id !== (present.picture?.id ?? null))) {
    props.value = present;
    return;
  }
  if (older) {
    const drawn = known?.key === present.strokes_key; // else the strokes to draw still wait for their images
    props.value = { ...value, strokes: drawn ? sent : present.strokes, strokes_key: present.strokes_key };
  } else replaced = undefined;
  present = props.value;
  apply();
  if (older) repeatStroke();
}

function shortcut(event) {
  if (!element.isConnected || !props.value.picture || event.defaultPrevented || event.altKey) return;
  const key = event.key.toLowerCase();
  const inside = root.contains(event.target);
  if (event.ctrlKey || event.metaKey) {
    if (!inside && event.target !== document.body) return;
    if (key === 'z' && !event.shiftKey) step('undo');
    else if ((key === 'z' && event.shiftKey) || key === 'y') step('redo');
    else return;
  } else {
    const tool = { b: 'add', e: 'remove', v: 'look', escape: 'look' }[key];
    if (!inside || !(tool || key === '[' || key === ']')) return;
    if (tool) brush.choose(tool);
    else brush.resize(key === '[' ? -1 : 1);
  }
  event.preventDefault();
}

/** Undo, redo or clear, and say so. */
function step(what) {
  if (!free() || strokes.open) return;
  if (what === 'clear') strokes.clear();
  else if (!strokes[what]()) return;
  painted();
  say({ undo: 'Stroke taken back.', redo: 'Stroke done again.', clear: 'Strokes cleared.' }[what]);
}

function choose(on) {
  choosing = on;
  arrange(props.value);
  if (on) part('choose').focus();
  else part('view').focus({ preventScroll: true });
}

function listen() {
  document.addEventListener('keydown', shortcut);
  for (const what of ['undo', 'redo', 'clear']) part(what).addEventListener('click', () => step(what));
  element.querySelectorAll('.work button[data-tool]').forEach((button) => {
    button.addEventListener('click', () => brush.choose(button.dataset.tool));
  });
  element.querySelectorAll('[data-layer]').forEach((button) => button.addEventListener('click', () => {
    board.layers[button.dataset.layer] = !board.layers[button.dataset.layer];
    board.draw();
    refresh();
  }));
  part('new').addEventListener('click', () => choose(true));
  part('back').addEventListener('click', () => choose(false));
  const files = { file: 'choose', 'mask-file': 'mask-choose' };
  for (const [name, button] of Object.entries(files)) {
    part(button).addEventListener('click', () => part(name).click());
    part(name).addEventListener('change', ({ target }) => {
      const [file] = target.files;
      if (file && name === 'file') uploads.picture(file);
      else if (file && props.value.picture) uploads.mask(file, props.value.picture.id, masked);
      target.value = '';
    });
  }
  new ResizeObserver(() => {
    if (!board.fit()) return;
    board.draw();
    brush.mark();
  }).observe(part('board'));
}

const uploads = new Uploads(props.limit, opened);
const brush = new Brush(strokes, board, free, painted);
present = props.value;
listen();
apply();
watch('value', () => {
  clearTimeout(opening);
  opening = 0;
  take();
});
