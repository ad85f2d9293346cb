// Words the model does not know, with known ones near them to choose from.

function line({ field, word, near }) {
  const text = make('p', {}, 'The model does not know “', make('bdi', { text: word }), '”.');
  if (!near?.length) return text;
  text.append(' Did you mean ');
  near.forEach((other) => text.append(make('button', {
    type: 'button', text: other, 'aria-label': `Write ${other} in place of ${word}`, data: { near: other },
    on: { click: () => choose({ field, word, near: other }) },
  })));
  return text;
}

let shown = '';
let edition = 0; // counts the words chosen here; answers carry that of their question
let present = props.value;

function choose(choice) {
  edition += 1;
  present = props.value = { ...props.value, edition };
  trigger('choose', choice);
}

function render() {
  const words = props.value?.words ?? [];
  const code = JSON.stringify(words);
  if (code === shown) return;
  shown = code;
  part('unknown').replaceChildren(...words.map(line));
}

render();
/** An answer to a question from before the last choice is too old to show; one that carries no edition always counts. */
watch('value', () => {
  const asked = props.value?.edition ?? edition;
  if (asked < edition) {
    props.value = present;
    return;
  }
  if (props.value?.edition !== edition) props.value = { ...props.value, edition };
  present = props.value;
  render();
});
