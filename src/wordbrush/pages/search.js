for (const box of document.querySelectorAll("input[type=search]")) {
  const cards = [...document.querySelectorAll(".card")], told = box.parentNode.querySelector("output");
  box.parentNode.hidden = false;
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const card of cards) card.hidden = !words.every((word) => card.textContent.toLowerCase().includes(word));
    told.textContent = box.value ? `${cards.filter((card) => !card.hidden).length} found` : "";
  });
}
