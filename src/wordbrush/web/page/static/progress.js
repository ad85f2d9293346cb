// How far the work is. Title and note are read out when they change; the bars are not, or nothing else could be heard.

function bar(i) {
  const list = part('stages');
  if (!list.children[i]) {
    const name = make('span', { class: 'label' });
    list.append(make('label', { class: 'step' }, name, make('span', { class: 'count' }), make('progress')));
  }
  return list.children[i];
}

function fill(node, { label, done, total }) {
  const line = node.querySelector('progress');
  put(node.querySelector('.label'), 'textContent', label);
  put(node.querySelector('.count'), 'textContent', total > 0 ? `${done} of ${total}` : '');
  if (total > 0) {
    line.max = total;
    line.value = Math.min(done, total);
  } else {
    // Of unknown length.
    line.removeAttribute('value');
  }
}

function render() {
  const { title = '', stages = [], preview = null, note = '', state = 'idle' } = props.value || {};
  part('progress').dataset.state = state;
  // Never `hidden`: what is hidden when it changes is not read out.
  part('progress').dataset.shown = String(state !== 'idle' || Boolean(title || note));
  put(part('title'), 'textContent', title);
  put(part('note'), 'textContent', note);
  put(part('run'), 'hidden', stages.length === 0 && !preview);
  stages.forEach((stage, i) => fill(bar(i), stage));
  while (part('stages').children.length > stages.length) part('stages').lastChild.remove();
  const shown = typeof preview === 'string' && preview.startsWith('data:image/') ? preview : '';
  const image = part('preview');
  put(image, 'hidden', !shown);
  if (shown && image.getAttribute('src') !== shown) image.src = shown;
}

render();
watch('value', render);
