// An inline formula wider than its column scrolls in place, so that it does not widen the page.
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const formulas = document.querySelectorAll('mjx-container:not([display="true"])');
  const fit = () => {
    formulas.forEach(formula => formula.classList.remove("wide"));
    const wide = [...formulas].filter(formula => {
      const column = formula.closest("p, li, td, th, h2, h3, h4, div, summary");
      return formula.getBoundingClientRect().width > column.clientWidth && column.clientWidth;
    });
    wide.forEach(formula => formula.classList.add("wide"));
  };
  fit();
  addEventListener("resize", fit);
});
