// Keeps the page as it is on the node: fetches the document again whenever something happens, and once a second,
// and puts what has changed in its place. Without this script the page loads itself anew.
'use strict';

const PERIOD = 1000;     // from one look to the next, in milliseconds
const PATIENCE = 4000;   // for one answer
const POINTS = 120;      // of a plot: two minutes
const READ = 8000;       // for a good answer, which then makes room; a bad one stays
const root = document.documentElement;
const by = (id) => document.getElementById(id);

// ---- The document, kept up to date ----

// Makes `old` what `fresh` is. What is alike stays, so that focus, selection and scrolling do.
function renew(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.hasAttribute('data-live')) return; // what is inside is drawn here
  const now = [...fresh.childNodes];
  now.forEach((child, index) => {
    const there = old.childNodes[index];
    if (!there) old.append(child);
    else if (there.nodeName !== child.nodeName || there.id !== child.id) there.replaceWith(child);
    else renew(there, child);
  });
  while (old.childNodes.length > now.length) old.lastChild.remove();
}

let looking = false, again = false, timer = 0, lastSeen = new Date();

async function look() {
  if (looking) { again = true; return; }
  looking = true;
  clearTimeout(timer);
  const began = performance.now();
  try {
    const answer = await fetch('/', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    renew(document.querySelector('main'), fresh.querySelector('main'));
    if (document.title !== fresh.title) document.title = fresh.title;
    lastSeen = new Date();
    stale(false);
    plot();
  } catch {
    stale(true);
  }
  looking = false;
  // A large cluster's page takes longer, and is looked at more rarely.
  timer = setTimeout(look, again ? 0 : Math.max(PERIOD, 5 * (performance.now() - began)));
  again = false;
}

// What is shown may not be so any more: that must be plain to see.
function stale(is) {
  root.classList.toggle('stale', is);
  const line = by('stale');
  line.hidden = !is;
  const text = is ? `No answer since ${lastSeen.toTimeString().slice(0, 8)}: what follows is old.` : '';
  if (line.textContent !== text) line.textContent = text;
}

// Whatever happens is told at once, and looked at; the stream comes back by itself when it was lost.
function listen() {
  const stream = new EventSource(`/api/v1/events?after=${document.querySelector('main').dataset.latest}`);
  stream.onmessage = look;
}

// ---- Plots: new connections a second, from one look to the next ----

const counted = new Map(); // by service: [{ at, total }]

function plot() {
  const at = performance.now() / 1000;
  for (const svg of document.querySelectorAll('svg[data-total]')) {
    const points = counted.get(svg.dataset.plot) ?? [];
    const total = Number(svg.dataset.total);
    if (points.length && points.at(-1).total > total) points.length = 0; // the node has started anew
    if (!points.length || at - points.at(-1).at > 0.9) points.push({ at, total });
    while (points.length && at - points[0].at > POINTS) points.shift();
    counted.set(svg.dataset.plot, points);
    if (points.length < 2) continue;
    const rates = points.slice(1).map((point, index) => ({
      at: point.at,
      rate: (point.total - points[index].total) / (point.at - points[index].at),
    }));
    const most = Math.max(1, ...rates.map(({ rate }) => rate));
    const line = rates.map(({ at: when, rate }) =>
      `${(POINTS - (at - when)).toFixed(1)},${(23 - (22 * rate) / most).toFixed(1)}`).join(' ');
    const drawing = svg.firstChild ?? svg.appendChild(
      document.createElementNS('http://www.w3.org/2000/svg', 'polyline'));
    drawing.setAttribute('points', line);
    const label = document.querySelector(`[data-rate="${CSS.escape(svg.dataset.plot)}"]`);
    const rate = rates.at(-1).rate;
    label.textContent = rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString('en');
    label.nextSibling.textContent = ' new a second';
  }
}

// ---- Saying something: drain, maint, ready, move ----

let token = '';   // kept nowhere else, and gone with the page
let meant = null; // what the open dialog asks about
let room = 0;     // until what was said makes room

const MEANINGS = {
  drain: { backend: 'It gets no new connections; open ones and probes go on.', node: 'It holds no VIP: another node takes over at once.' },
  maint: { backend: 'It gets no new connections and no probes; open ones go on.', node: 'It holds no VIP: another node takes over at once.' },
  move: { vip: 'That node takes it over now, and holds it whenever it can. Connections through the old holder end.' },
  ready: { backend: 'It gets connections again once it is up.', node: 'It may hold VIPs again, and takes back those that are its own.' },
};

function ask({ kind, name, state, to, home }) {
  meant = { kind, name, state };
  by('ask-title').textContent = `${state} ${name}?`;
  by('ask-meaning').textContent = MEANINGS[state][kind];
  const places = state === 'move' ? to.split(' ').filter(Boolean).map((node) => new Option(node)) : [];
  if (home !== undefined) places.push(new Option('wherever its priority is highest', ''));
  by('ask-to').replaceChildren(...places);
  by('ask-to').parentElement.hidden = state !== 'move';
  // A move that is forgotten about would surprise whoever comes next.
  by('ask-for').value = state === 'move' ? '10m' : '';
  timed();
  by('ask').showModal();
}

// What ends something said before has no end itself.
function timed() {
  by('ask-for').parentElement.hidden = meant.state === 'ready' || (meant.state === 'move' && !by('ask-to').value);
}

async function say({ kind, name, state }, to, lasting) {
  const change = { target: { [kind]: name } };
  if (state === 'move') change.holder = to || null;
  else change.state = state;
  if (lasting) change.for = lasting;
  const said = state !== 'move' ? state : to ? `to be on ${to}` : 'wherever its priority is highest';
  try {
    const answer = await fetch('/api/v1/administration', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify(change),
      signal: AbortSignal.timeout(PATIENCE),
    });
    const document = await answer.json();
    if (answer.status === 401) operator('');
    tell(answer.ok ? `${name}: ${said}${lasting ? ` for ${lasting}` : ''}.` : `Refused: ${document.detail}.`, answer.ok);
  } catch {
    tell('No answer: the change may have been made or not.', false);
  }
  look();
}

function tell(sentence, well) {
  by('said').textContent = sentence;
  by('said').className = well ? 'good' : 'bad';
  clearTimeout(room);
  if (well) room = setTimeout(() => { by('said').textContent = ''; }, READ);
}

// Somebody has a token: the buttons are there. Whether it is the right one shows when it is used.
function operator(given) {
  token = given;
  root.classList.toggle('operator', token !== '');
}

function begin() {
  const operate = by('operate');
  operate.hidden = false;
  operate.querySelector('form')?.addEventListener('submit', (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    operator(form.elements.token.value.trim());
    form.reset();
    tell('', true);
  });
  document.addEventListener('click', ({ target }) => {
    const button = target.closest('button[data-state]');
    if (button) ask(button.dataset);
  });
  by('ask-to').addEventListener('change', timed);
  by('ask-no').addEventListener('click', () => by('ask').close());
  by('ask-yes').addEventListener('click', () => {
    by('ask').close();
    const lasting = by('ask-for');
    say(meant, by('ask-to').value, lasting.parentElement.hidden ? '' : lasting.value);
  });
  plot();
  listen();
  look();
}

begin();
