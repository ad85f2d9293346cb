// The history: a card for each version. Cards stay while their version does, so that focus and pictures are left alone.

const cards = new Map();

function card({ id }) {
  const node = make('li', { class: 'card', data: { version: id } });
  const image = make('img', { alt: '', loading: 'lazy' });
  const thumb = make('a', { class: 'thumb', target: '_blank', rel: 'noopener', data: { act: 'enlarge' } }, image);
  const title = make('p', { class: 'title', dir: 'auto' });
  const detail = make('p', { class: 'detail' });
  const act = (name, text, data, options = {}) => make('button', {
    type: 'button', text, data: { act: name }, on: { click: () => trigger(...data()) }, ...options,
  });
  const restore = act('restore', 'Restore', () => ['restore', { id }]);
  const reuse = act('reuse', 'Use as input', () => ['reuse', { id }]);
  const save = make('a', { class: 'button', text: 'Download', data: { act: 'download' } });
  const remove = act('remove', 'Remove', () => ['remove', { id }], { class: 'remove' });
  const sides = ['left', 'right'].map((side) => act(side, side === 'left' ? 'A' : 'B', () => {
    // Pressed again, a side is given free: then the input stands there.
    return ['pick', { side, id: props.value[side] === id ? null : id }];
  }, { class: 'side' }));
  const compare = make('span', { class: 'quiet', text: 'Compare' });
  node.append(thumb, make('div', { class: 'words' }, title, detail),
    make('div', { class: 'row' }, restore, reuse, save), make('div', { class: 'row' }, compare, ...sides, remove));
  return { node, image, thumb, title, detail, restore, reuse, save, remove, sides };
}

function fill(one, version, value) {
  const { id, title } = version;
  one.node.classList.toggle('current', Boolean(version.current));
  if (version.current) one.node.setAttribute('aria-current', 'true');
  else one.node.removeAttribute('aria-current');
  if (one.image.getAttribute('src') !== local(version.thumb)) one.image.src = local(version.thumb);
  one.thumb.href = local(version.url);
  one.thumb.title = 'Open in full size';
  put(one.title, 'textContent', title);
  one.title.title = title;
  put(one.detail, 'textContent', version.detail);
  one.save.href = `${local(version.url)}?download=1`;
  one.save.download = version.name;
  const labels = [
    [one.thumb, 'Open in full size'], [one.restore, 'Restore settings of'], [one.reuse, 'Use as input'],
    [one.save, 'Download'], [one.remove, 'Remove'], [one.sides[0], 'Compare, left side A'],
    [one.sides[1], 'Compare, right side B'],
  ];
  labels.forEach(([node, what]) => node.setAttribute('aria-label', `${what}: ${title}, ${version.detail}`));
  ['left', 'right'].forEach((side, i) => one.sides[i].setAttribute('aria-pressed', String(value[side] === id)));
}

/** Give the focus to a neighbour when the card that has it goes. */
function leave(one, versions) {
  if (!one.node.contains(document.activeElement)) return;
  let next = one.node.nextElementSibling ?? one.node.previousElementSibling;
  if (!versions.some(({ id }) => id === next?.dataset.version)) next = null;
  next?.querySelector('[data-act="enlarge"]').focus();
}

function render() {
  const value = props.value || {};
  const versions = value.versions ?? [];
  const list = part('cards');
  put(part('none'), 'hidden', versions.length > 0);
  put(part('zip'), 'hidden', versions.length === 0);
  put(list, 'hidden', versions.length === 0);
  for (const [id, one] of cards) {
    if (versions.some((version) => version.id === id)) continue;
    leave(one, versions);
    one.node.remove();
    cards.delete(id);
  }
  versions.forEach((version, i) => {
    if (!cards.has(version.id)) cards.set(version.id, card(version));
    const one = cards.get(version.id);
    fill(one, version, value);
    if (list.children[i] !== one.node) list.insertBefore(one.node, list.children[i] ?? null);
  });
}

render();
watch('value', render);
