"use strict";

for (const card of document.querySelectorAll(".card.video")) {
  const video = card.querySelector("video");
  const seek = card.querySelector(".seek");
  if (!video || !seek) continue;
  seek.hidden = false;
  seek.addEventListener("click", ({ target }) => {
    if (target.dataset.part) video.currentTime = target.dataset.part * video.duration;
  });
}

// What is left of each link's time; its end is in the link itself.
for (const left of document.querySelectorAll("[data-link]")) {
  const ends = new URL(left.dataset.link, document.baseURI).searchParams.get("media-expires");
  const show = () => {
    const seconds = Math.ceil(ends - Date.now() / 1000);
    left.textContent = seconds > 0 ? `ends in ${seconds} s` : "has ended";
    left.classList.toggle("ended", seconds <= 0);
    if (seconds > 0) setTimeout(show, 1000);
  };
  show();
}

const live = document.getElementById("live");
const answer = document.getElementById("answer");
let socket;
let user = "";

function connect() {
  const url = new URL("ws/live/", document.querySelector(".brand").href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if ("user" in message) user = message.user;
    if ("echo" in message && answer) answer.textContent = `The server says: ${message.echo}`;
    if ("time" in message) {
      live.dataset.state = "open";
      live.textContent = `${message.time} · ${user}`;
    }
  };
  socket.onclose = () => {
    live.dataset.state = "closed";
    live.textContent = "offline";
    setTimeout(connect, 2000);
  };
}
connect();

document.getElementById("echo")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.querySelector("input");
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(input.value);
  input.value = "";
});
