// A page that is opened as a file may start no workers. Its search runs in a hidden frame instead.
// mkdocs-material's plugin `offline` looks for the name of this file, and else loads another one from a server.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(script) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "Search";
      frame.srcdoc = `<script src="${new URL(script, location)}"></` + "script>";
      this.ready = new Promise((resolve) => frame.addEventListener("load", () => resolve(frame.contentWindow)));
      this.ready.then((inner) => {
        // What the script posts is for the page, and not for the frame itself.
        inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      });
      document.body.append(frame);
    }

    postMessage(data) {
      this.ready.then((inner) => inner.dispatchEvent(new inner.MessageEvent("message", { data })));
    }
  };
  window.Worker = window.IFrameWorker;
}
