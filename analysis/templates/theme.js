// Light or dark: as the system has it until somebody presses the button, then as chosen, and remembered if it may be.
// Stands in the head, so that a dark page is never light at first.
(() => {
  const root = document.documentElement;
  const remembered = () => { try { return localStorage.getItem("collab-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("collab-theme", theme); } catch { /* private: not kept */ } };
  const chosen = remembered();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      remember(root.dataset.theme);
    });
  });
})();
