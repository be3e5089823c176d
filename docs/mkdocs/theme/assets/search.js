/* The theme's search takes every word of a query for the beginning of one: "a" finds "as", "at", "all" and so on. A message
 * that somebody pastes has many short words, which then decide what comes first. In a query of more than four words those
 * with fewer than three letters are left out, and the others are whole words ("^1" is the theme's mark for that).
 */
(() => {
  const QUERY = 2; // The theme's number for a message with a query to the worker that searches.
  const send = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (message, ...more) {
    if (message?.type === QUERY && typeof message.data === "string" && !message.data.includes('"')) {
      const words = message.data.match(/[A-Za-z_]{3,}/g) ?? [];
      if (words.length > 4) {
        message = { ...message, data: words.map((word) => `${word}^1`).join(" ") };
      }
    }
    return send.call(this, message, ...more);
  };
})();
