// Brings live progress up to date. Without scripts the page reloads itself: see base.html.
const box = document.querySelector("[data-progress]");

async function look() {
  try {
    const answer = await fetch(box.dataset.progress);
    if (answer.status === 204) return location.reload();
    if (answer.ok) box.innerHTML = await answer.text();
  } catch {
    // The server is restarting: it is asked again.
  }
  setTimeout(look, 2000);
}

if (box) setTimeout(look, 2000);
