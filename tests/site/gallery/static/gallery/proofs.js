"use strict";

const byId = (id) => document.getElementById(id);

// The memory of the server, four times a second, over a minute.
const graph = byId("graph");
const stall = byId("stall");
const POINTS = 240;
const points = [];

function draw() {
  const highest = Math.max(200, ...points.map(({ memory }) => memory * 1.3));
  const x = (index) => 600 - (points.length - 1 - index) * (600 / POINTS);
  const y = (memory) => 200 - (memory / highest) * 200;
  const line = points.map(({ memory }, index) => `${x(index)},${y(memory)}`);
  // The ground is coloured for as long as the clients hang on.
  let ground = "";
  points.forEach(({ clients }, index) => {
    if (clients) ground += `M${x(index)} 0h${600 / POINTS}v200h-${600 / POINTS}z`;
  });
  graph.innerHTML = `<path d="${ground}"/><polyline points="${line.join(" ")}"/>`;
  graph.parentElement.dataset.highest = `${Math.round(highest)} MiB`;
}

function watch() {
  const url = new URL("ws/memory/", document.querySelector(".brand").href);
  url.protocol = url.protocol.replace("http", "ws");
  const watched = new WebSocket(url);
  watched.onmessage = ({ data }) => {
    const { memory, clients } = JSON.parse(data);
    if (memory === null) {
      byId("memory").textContent = "this system does not tell the memory of a process";
      return;
    }
    points.push({ memory, clients });
    if (points.length > POINTS) points.shift();
    stall.dataset.clients = clients;
    stall.textContent = clients ? "Let them go" : "Start four clients";
    const asked = clients ? ` · ${clients} clients have asked for ${clients} GiB` : "";
    byId("memory").textContent = `${memory.toFixed(1)} MiB${asked}`;
    draw();
  };
  watched.onclose = () => {
    byId("memory").textContent = "offline";
    setTimeout(watch, 2000);
  };
  stall.onclick = () => {
    if (watched.readyState === WebSocket.OPEN) {
      watched.send(Number(stall.dataset.clients) ? "release" : "stall");
    }
  };
}
watch();

// What the server says of the uploaded page.
const policy = byId("policy");
fetch(policy.dataset.url, { method: "HEAD" }).then(({ headers }) => {
  const names = ["content-type", "content-security-policy", "x-content-type-options"];
  policy.textContent = names.map((name) => `${name}: ${headers.get(name)}`).join("\n");
});

// A download in two parts, and the same in one.
const log = byId("log");
const resume = byId("resume");
const say = (text) => { log.textContent += `\n${text}`; };
const sum = async (data) => {
  const digest = await crypto.subtle.digest("SHA-256", data);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, 16);
};

async function read(response, until, parts, total) {
  const reader = response.body.getReader();
  let length = parts.reduce((size, part) => size + part.length, 0);
  while (length < until) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    byId("progress").value = length / total;
  }
  return length;
}

let cut;
resume.onclick = async () => {
  resume.disabled = true;
  const url = resume.dataset.url;
  if (!cut) {
    log.textContent = `GET ${url}`;
    const line = new AbortController();
    const response = await fetch(url, { cache: "no-store", signal: line.signal });
    const total = Number(response.headers.get("content-length"));
    const parts = [];
    const length = await read(response, total / 2, parts, total);
    line.abort();
    say(`${response.status}, cut after ${length} of ${total} bytes`);
    cut = { etag: response.headers.get("etag"), parts, length, total };
    resume.textContent = "Resume";
  } else {
    const { etag, parts, length, total } = cut;
    const headers = { Range: `bytes=${length}-`, "If-Range": etag };
    say(`\nGET ${url}\nRange: ${headers.Range}\nIf-Range: ${etag}`);
    const response = await fetch(url, { cache: "no-store", headers });
    await read(response, total, parts, total);
    say(`${response.status}, ${response.headers.get("content-range")}`);
    const whole = await (await fetch(url, { cache: "no-store" })).arrayBuffer();
    const [mine, theirs] = await Promise.all([
      new Blob(parts).arrayBuffer().then(sum), sum(whole),
    ]);
    say(`\nSHA-256 ${mine}… of the two parts\nSHA-256 ${theirs}… of the whole${mine === theirs ? ": equal" : ": NOT EQUAL"}`);
    cut = undefined;
    resume.textContent = "Download and cut";
  }
  resume.disabled = false;
};
