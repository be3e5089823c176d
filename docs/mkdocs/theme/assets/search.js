/* The theme's search treats every word of a query as a prefix: "a" finds "as", "at", "all" and so on. A pasted error
 * message has many short words, which then determine the ranking. In a query of more than four words, words with fewer
 * than three letters are therefore left out, and the others must match whole words (the theme's mark for that is "^1").
 */
(() => {
  const QUERY = 2; // The theme's number for a message that sends a query to the search worker.
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
