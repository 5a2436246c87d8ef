// The line that runs along while the call is played, and clicks into the picture.
const picture = document.getElementById("call");
const audio = document.querySelector("audio");
const line = picture.querySelector(".playhead");
const { left, right, width, length } = Object.fromEntries(Object.entries(picture.dataset).map(([k, v]) => [k, Number(v)]));

function follow() {
  const x = left + (Math.min(audio.currentTime, length) / length) * (right - left);
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
  picture.classList.toggle("playing", audio.currentTime > 0);
  if (!audio.paused) requestAnimationFrame(follow);
}
audio.addEventListener("play", follow);
audio.addEventListener("seeked", follow);
picture.addEventListener("click", (event) => {
  const box = picture.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * width;
  if (x < left) return;
  audio.currentTime = Math.min(length, ((x - left) / (right - left)) * length);
  audio.play();
});
