// Before and after: two pictures in one box, the upper one clipped where the slider stands.

const range = part('range');
let turn = 0;

function move() {
  part('pair').style.setProperty('--at', range.value);
  range.setAttribute('aria-valuetext', `${range.value} % A, ${100 - range.value} % B`);
}

/** Decode an image before it is shown, so that the box never stands half empty. */
async function load(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

async function render() {
  const { left, right } = props.value || {};
  const mine = ++turn;
  const [a, b] = [local(left?.url), local(right?.url)];
  if (!a || !b) {
    part('compare').hidden = true;
    return;
  }
  let images;
  try {
    images = await Promise.all([load(a), load(b)]);
  } catch {
    if (mine === turn) part('compare').hidden = true;
    return;
  }
  if (mine !== turn) return;
  part('pair').style.setProperty('--wide', images[1].naturalWidth / images[1].naturalHeight);
  [['left', left, a], ['right', right, b]].forEach(([side, { label }, address]) => {
    const image = part(side);
    if (image.getAttribute('src') !== address) image.src = address;
    image.alt = label;
    put(part(`${side}-label`), 'textContent', label);
  });
  range.setAttribute('aria-label', `Move between A, ${left.label}, and B, ${right.label}`);
  part('compare').hidden = false;
}

range.addEventListener('input', move);
move();
render();
watch('value', render);
