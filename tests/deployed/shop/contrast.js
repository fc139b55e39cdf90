// Returns the texts with too little contrast (WCAG 2.2, 1.4.3: 4.5 to 1; 3 to 1 for large text).

const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

function over(color, below) {
  pixel.fillStyle = `rgb(${below.join(" ")})`;
  pixel.fillRect(0, 0, 1, 1);
  pixel.fillStyle = color;
  pixel.fillRect(0, 0, 1, 1);
  return [...pixel.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

function ground(element) {
  const above = element ? ground(element.parentElement) : [255, 255, 255];
  return element ? over(getComputedStyle(element).backgroundColor, above) : above;
}

function light(color) {
  const [red, green, blue] = color.map((part) => part / 255).map(
    (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4),
  );
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

return [...document.querySelectorAll("body *")].filter((element) =>
  element.checkVisibility() &&
  [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())
).flatMap((element) => {
  const style = getComputedStyle(element);
  const back = ground(element);
  const svg = element.namespaceURI.endsWith("svg");
  const [low, high] = [light(back), light(over(svg ? style.fill : style.color, back))].sort((a, b) => a - b);
  const contrast = (high + 0.05) / (low + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  return contrast < (large ? 3 : 4.5) ? [`${contrast.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`] : [];
});
