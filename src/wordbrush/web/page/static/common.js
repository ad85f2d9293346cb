'use strict';

// What every component uses. Texts are set as text, never as markup.

/** Make an element: `text`, `data` and `on` are set as such, everything else as an attribute. */
function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'text') node.textContent = value;
    else if (name === 'on') Object.entries(value).forEach(([event, run]) => node.addEventListener(event, run));
    else if (name === 'data') Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children);
  return node;
}

/** Return the element of the template that carries this `data-part`. */
function part(name) {
  return element.querySelector(`[data-part="${name}"]`);
}

/** Set a property only where it differs, so that live regions and focus are left alone. */
function put(node, name, value) {
  if (node[name] !== value) node[name] = value;
}

/** An address of this server, or nothing: what came in a value never leads elsewhere. */
function local(address) {
  return typeof address === 'string' && /^\/(?!\/)/.test(address) ? address : '';
}

/**
 * In another site's frame the browser downloads files, and opens tabs, without this page's cookie, and gets nothing: the
 * page fetches the file itself and hands over its bytes.
 */
async function handOver(event) {
  const link = event.target.closest('a[href]');
  if (!link || window.self === window.top) return;
  event.preventDefault();
  const { href } = link;
  const name = link.hasAttribute('download') ? link.download || new URL(href).pathname.split('/').pop() : null;
  const answer = await fetch(href).catch(() => null);
  const given = answer?.ok ? URL.createObjectURL(await answer.blob()) : href; // the browser says what is not there
  make('a', { href: given, target: link.target || null, rel: 'noopener', download: name }).click();
  setTimeout(() => URL.revokeObjectURL(given), 60000);
}

element.addEventListener('click', handOver);
