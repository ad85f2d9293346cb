// Files: chosen, dropped or pasted, checked here for what needs no server, and sent with progress in place.

const KINDS = 'PNG, JPEG, WebP, AVIF, TIFF or BMP';

class Uploads {
  /**
   * @param {number} limit most bytes of a file.
   * @param {(answer: object) => void} opened called with the server's answer to a picture.
   */
  constructor(limit, opened) {
    Object.assign(this, { limit, opened, request: null });
    put(part('limit'), 'textContent', String(Math.floor(limit / 1e6)));
    part('abort').addEventListener('click', () => this.abort());
    this.listenToDrops();
    document.addEventListener('paste', (event) => this.paste(event));
  }

  /** Open a picture file in place of the present one. */
  picture(file) {
    this.send(file, '/wordbrush/picture', this.opened);
  }

  /** Take a mask file for the picture with this id. */
  mask(file, id, taken) {
    this.send(file, `/wordbrush/mask/${encodeURIComponent(id)}`, taken);
  }

  listenToDrops() {
    const root = element.querySelector('.stage');
    let depth = 0;
    const carries = (event) => event.dataTransfer?.types.includes('Files') || root.contains(event.target);
    const over = (change) => {
      depth = change === 0 ? 0 : Math.max(0, depth + change);
      root.classList.toggle('over', depth > 0);
    };
    root.addEventListener('dragenter', () => over(1));
    root.addEventListener('dragleave', () => over(-1));
    // A file let go beside the stage would make the browser leave the page, and everything on it with it.
    document.addEventListener('dragover', (event) => {
      if (element.isConnected && carries(event)) event.preventDefault();
    });
    document.addEventListener('drop', (event) => {
      over(0);
      if (!element.isConnected || event.defaultPrevented || !carries(event)) return;
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) this.picture(file);
      else this.fail('That was a link, not a file. Save the picture first, then drop the file.');
    });
  }

  paste(event) {
    if (!element.isConnected || event.defaultPrevented) return;
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith('image/'));
    const typing = event.target.closest?.('input, textarea, [contenteditable="true"]');
    if (!file || (typing && event.clipboardData.types.includes('text/plain'))) return;
    event.preventDefault();
    this.picture(file);
  }

  refuse(file) {
    const named = file.name || 'The file';
    if (file.size > this.limit) {
      const [size, most] = [file.size, this.limit].map((bytes) => (bytes / 1e6).toFixed(1).replace(/\.0$/, ''));
      return `“${named}” has ${size} MB; at most ${most} MB are taken. Save it smaller.`;
    }
    if (file.size === 0) return `“${named}” is empty.`;
    if (file.type && !file.type.startsWith('image/')) return `“${named}” is not a picture. Take ${KINDS}.`;
    return null;
  }

  send(file, address, done) {
    this.abort();
    this.fail(null);
    const refused = this.refuse(file);
    if (refused) {
      this.fail(refused);
      return;
    }
    const request = new XMLHttpRequest();
    this.request = request;
    request.open('POST', address);
    request.setRequestHeader('X-Wordbrush-Name', encodeURIComponent(file.name || 'pasted.png'));
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.upload.addEventListener('progress', (event) => this.show(file, event.loaded / (event.total || 1)));
    request.addEventListener('loadend', () => {
      if (this.request !== request) return;
      this.end();
      this.answer(request, done);
    });
    this.show(file, 0);
    request.send(file);
  }

  answer(request, done) {
    let body = {};
    try {
      body = JSON.parse(request.responseText);
    } catch {
      // Not of ours: the status says enough.
    }
    if (request.status === 200) {
      done(body);
      return;
    }
    const told = [body.error, body.detail].find((text) => typeof text === 'string' && text);
    const known = { 0: 'The server did not answer. Is it still running?', 413: 'The file is too large.' };
    this.fail(told ?? known[request.status] ?? `The file was not taken (status ${request.status}).`);
  }

  show(file, share) {
    put(part('sending'), 'hidden', false);
    const what = share < 1 ? 'Sending' : 'Reading';
    put(part('sending-text'), 'textContent', `${what} ${file.name || 'the picture'}`);
    const bar = part('sent');
    if (share < 1) bar.value = share;
    else bar.removeAttribute('value');
  }

  end() {
    this.request = null;
    put(part('sending'), 'hidden', true);
  }

  abort() {
    const { request } = this;
    this.end();
    request?.abort();
  }

  /** Show what went wrong in place, and tell the page; null takes it away. */
  fail(message) {
    put(part('alert'), 'textContent', message ?? '');
    if (message) trigger('problem', { message });
  }
}
