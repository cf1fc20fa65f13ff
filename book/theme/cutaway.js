// In a transcript, what is typed stands out from what is printed. Without this script everything can still be read.
"use strict";

for (const code of document.querySelectorAll("code.language-console")) {
    const lines = code.textContent.replace(/\n$/, "").split("\n");
    let typing = false;
    code.replaceChildren(...lines.map((line) => {
        typing = line.startsWith("$ ") || (typing && line.startsWith("> "));
        const part = document.createElement(typing ? "span" : "samp");
        part.className = typing ? "typed" : "printed";
        part.textContent = line + "\n";
        return part;
    }));
}

// What is wider than the page is scrolled by keyboard, too.
for (const wide of document.querySelectorAll("pre > code, figure")) {
    if (wide.scrollWidth > wide.clientWidth) {
        wide.tabIndex = 0;
    }
}
