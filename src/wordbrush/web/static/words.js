// Words the model does not know, with known ones near them to choose from.

function line({ field, word, near }) {
  const text = make('p', {}, 'The model does not know “', make('bdi', { text: word }), '”.');
  if (!near?.length) return text;
  text.append(' Did you mean ');
  near.forEach((other) => text.append(make('button', {
    type: 'button', text: other, 'aria-label': `Write ${other} in place of ${word}`, data: { near: other },
    on: { click: () => trigger('choose', { field, word, near: other }) },
  })));
  return text;
}

let shown = '';

function render() {
  const words = props.value?.words ?? [];
  const code = JSON.stringify(words);
  if (code === shown) return;
  shown = code;
  part('unknown').replaceChildren(...words.map(line));
}

render();
watch('value', render);
