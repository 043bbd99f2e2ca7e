"use strict";
// One player sounds at a time. Within a group (one region) the next player goes on where the last one was: an A/B test.
(() => {
  const players = [...document.querySelectorAll(".player")].map((node) => ({
    button: node.querySelector("button"),
    audio: node.querySelector("audio"),
    group: node.dataset.group,
    start: Number(node.dataset.start), // project time of the file's first sample, seconds
    plots: node.closest(".row").querySelector(".plots"),
    head: node.closest(".row").querySelector(".playhead"),
  }));
  let current = null;

  const axis = (plots) => [Number(plots.dataset.from), Number(plots.dataset.to)];

  function draw() {
    if (!current) return;
    const [from, to] = axis(current.plots);
    const plot = current.plots.querySelector(".plot");
    const share = (current.start + current.audio.currentTime - from) / (to - from);
    current.head.style.left = `${plot.offsetLeft + share * plot.offsetWidth}px`;
    current.head.classList.toggle("on", share >= 0 && share <= 1);
    if (!current.audio.paused) requestAnimationFrame(draw);
  }

  function stop(player) {
    player.audio.pause();
    player.button.setAttribute("aria-pressed", "false");
    player.head.classList.remove("on");
  }

  function play(player, at) {
    const before = current;
    if (before && before !== player) {
      if (at === undefined && before.group === player.group && !before.audio.paused) {
        at = before.start + before.audio.currentTime;
      }
      stop(before);
    }
    current = player;
    const seek = () => {
      const time = at - player.start;
      if (time >= 0 && time < player.audio.duration) player.audio.currentTime = time;
    };
    if (at !== undefined) {
      if (player.audio.readyState > 0) seek();
      else player.audio.addEventListener("loadedmetadata", seek, { once: true });
    }
    player.button.setAttribute("aria-pressed", "true");
    player.audio.play().then(draw, () => stop(player));
  }

  for (const player of players) {
    player.button.addEventListener("click", () => (player.audio.paused ? play(player) : stop(player)));
    player.audio.addEventListener("ended", () => stop(player));
    player.button.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || player !== current) return;
      event.preventDefault();
      player.audio.currentTime = Math.max(0, player.audio.currentTime + step);
      draw();
    });
  }

  // A click on a plot plays that row's first player from there.
  for (const plots of document.querySelectorAll(".plots[data-from]")) {
    const first = players.find((player) => player.plots === plots);
    if (!first) continue;
    plots.addEventListener("click", (event) => {
      const plot = plots.querySelector(".plot").getBoundingClientRect();
      const [from, to] = axis(plots);
      play(first, from + ((event.clientX - plot.left) / plot.width) * (to - from));
    });
  }
})();
