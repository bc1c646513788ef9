// Brings live progress up to date, and shows a round that begins. Without scripts the page reloads itself: see base.html.
const box = document.querySelector("[data-progress]");

async function look() {
  try {
    const answer = await fetch(box.dataset.progress);
    if (answer.status === 204 && !box.hidden) return location.reload();
    if (answer.status === 200) {
      box.innerHTML = await answer.text();
      box.hidden = false;
    }
  } catch {
    // The server is restarting: it is asked again.
  }
  setTimeout(look, 2000);
}

if (box) setTimeout(look, 2000);
