// Added to the page of optuna-dashboard, which works without it as well.

// Says why a change was refused: the page itself says for some only that it failed.
const ask = window.fetch;
window.fetch = async (...request) => {
  const answer = await ask(...request);
  if (answer.status >= 400 && (request[1]?.method ?? "GET") !== "GET") {
    answer.clone().json().then(({ reason }) => reason && show(reason), () => undefined);
  }
  return answer;
};

function show(reason) {
  const box = document.createElement("div");
  box.setAttribute("role", "alert");
  box.textContent = reason;
  box.style.cssText =
    "position:fixed;top:1rem;left:50%;transform:translateX(-50%);z-index:10000;box-sizing:border-box;" +
    "width:min(40rem,calc(100% - 2rem));padding:1rem;border-radius:4px;cursor:pointer;" +
    "background:#5f2120;color:#fff;font:1rem/1.4 sans-serif;overflow-wrap:anywhere";
  box.onclick = () => box.remove();
  setTimeout(() => box.remove(), 30000);
  document.body.append(box);
}

// Pictures are large enough to read, and on a phone a wide table scrolls in its own box.
const style = document.createElement("style");
style.textContent = `
main { min-width: 0 }
.MuiCardContent-root :is(table, pre) { display: block; overflow-x: auto }
.MuiCardContent-root table { white-space: nowrap }
.MuiCard-root:has(> div > img.MuiCardMedia-img) { width: min(100%, 30rem) }
.MuiCard-root > div:has(> img.MuiCardMedia-img), img.MuiCardMedia-img { height: auto !important }
img[src*="/artifacts/"] { cursor: zoom-in }
`;
document.head.append(style);

document.addEventListener(
  "click",
  (event) => {
    // A picture opens in full.
    if (event.target.matches?.('img[src*="/artifacts/"]')) {
      event.preventDefault();
      window.open(event.target.src);
    }
    // A study of the list opens on its note.
    const study = event.target.closest?.('a[href*="/dashboard/studies/"]');
    if (study && location.pathname.replace(/\/$/, "").endsWith("/dashboard")) {
      event.preventDefault();
      event.stopPropagation();
      location.assign(`${study.href}/note`);
    }
  },
  true,
);
