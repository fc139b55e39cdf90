// Announcements for screen readers.

const PAUSE_SECONDS = 2;

/** A queue of texts for a live region, with a pause after each announcement. */
function queue(region) {
  const waiting = [];
  let isSpeaking = false;
  const next = () => {
    isSpeaking = waiting.length > 0;
    if (!isSpeaking) return;
    document.getElementById(region).textContent = waiting.splice(0).join(" ");
    setTimeout(next, PAUSE_SECONDS * 1000);
  };
  return (text) => {
    if (waiting.at(-1) !== text) waiting.push(text);
    if (!isSpeaking) next();
  };
}

/** Announces news after the current speech. */
export const announce = queue("announcements");

/** Announces an error at once. */
export const alarm = queue("alarms");
