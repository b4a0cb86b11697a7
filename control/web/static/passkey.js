// Speaks to a passkey (Web Authentication, level 2): the options come with the form, the
// answer goes with it. Nothing else is done here.
"use strict";
(() => {
  const bytes = (s) => Uint8Array.from(atob(s.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (b) => b ? btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "") : undefined;
  const listed = (list) => (list || []).map((c) => ({ ...c, id: bytes(c.id) }));

  const create = async (o) => {
    o.challenge = bytes(o.challenge);
    o.user.id = bytes(o.user.id);
    o.excludeCredentials = listed(o.excludeCredentials);
    const c = await navigator.credentials.create({ publicKey: o });
    return { c, response: {
      clientDataJSON: text(c.response.clientDataJSON), attestationObject: text(c.response.attestationObject),
      transports: c.response.getTransports ? c.response.getTransports() : [],
    } };
  };
  const get = async (o) => {
    o.challenge = bytes(o.challenge);
    o.allowCredentials = listed(o.allowCredentials);
    const c = await navigator.credentials.get({ publicKey: o });
    return { c, response: {
      clientDataJSON: text(c.response.clientDataJSON), authenticatorData: text(c.response.authenticatorData),
      signature: text(c.response.signature), userHandle: text(c.response.userHandle),
    } };
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const problem = form.querySelector(".problem");
      problem.hidden = true;
      try {
        if (!navigator.credentials) throw new Error("this browser knows no passkeys");
        const options = JSON.parse(form.dataset.options);
        const { c, response } = await (form.dataset.passkey === "create" ? create : get)(options);
        form.elements.passkey.value = JSON.stringify({
          id: c.id, rawId: text(c.rawId), type: c.type, response,
          authenticatorAttachment: c.authenticatorAttachment || undefined, clientExtensionResults: c.getClientExtensionResults(),
        });
        form.submit(); // does not come back here
      } catch (err) {
        problem.textContent = "The passkey was not used: " + err.message;
        problem.hidden = false;
      }
    });
  }
})();
