// Samples: pictures that come with the program, each with the words for it.

function arrangeSamples(samples) {
  const list = part('samples');
  const code = JSON.stringify(samples);
  if (list.dataset.code === code) return;
  list.dataset.code = code;
  list.replaceChildren(...samples.map((sample) => {
    const words = `${sample.from || '…'} → ${sample.to}`;
    const image = make('img', { src: local(sample.url), alt: `Sample: ${sample.from}`, loading: 'lazy' });
    const button = make('button', { type: 'button', data: { sample: sample.index } }, image, make('span', { text: words }));
    button.addEventListener('click', () => takeSample(sample.index));
    return make('li', {}, button);
  }));
}

function takeSample(index) {
  uploads.fail(null);
  uploads.abort();
  clearTimeout(opening);
  // Until the answer, or for long enough that a lost one does not lock the panel.
  opening = setTimeout(() => { opening = 0; refresh(); }, 10000);
  choosing = false;
  refresh();
  trigger('sample', { index });
}
