"use strict";
// Language, plate tabs, and one WebGL 2 context that draws every 3D view and copies it out: browsers allow few contexts.
(() => {
  const root = document.documentElement;
  const setLanguage = (language) => {
    root.dataset.lang = language;
    root.lang = language === "zh" ? "zh-CN" : "en";
  };
  document.querySelectorAll("[data-set-lang]").forEach((button) =>
    button.addEventListener("click", () => setLanguage(button.dataset.setLang)));
  const asked = new URLSearchParams(location.search).get("lang") || location.hash.slice(1);
  if (asked === "zh" || asked === "en") setLanguage(asked);

  const plate = document.querySelector(".plate");
  document.querySelectorAll("[data-plate]").forEach((button) => button.addEventListener("click", () => {
    plate.dataset.view = button.dataset.plate;
    document.querySelectorAll("[data-plate]").forEach((b) => b.setAttribute("aria-pressed", b === button));
  }));
  document.querySelectorAll("[data-outlines]").forEach((button) => button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", !plate.classList.toggle("bare"));
  }));

  // --- small matrices, column-major as WebGL wants them
  const multiply = (a, b) => {
    const out = new Float32Array(16);
    for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++)
      for (let k = 0; k < 4; k++) out[c * 4 + r] += a[k * 4 + r] * b[c * 4 + k];
    return out;
  };
  const perspective = (fov, aspect, near, far) => {
    const f = 1 / Math.tan(fov / 2), d = near - far;
    return new Float32Array([f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / d, -1, 0, 0, 2 * far * near / d, 0]);
  };
  const translate = (x, y, z) => new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, x, y, z, 1]);
  const rotateX = (a) => { const c = Math.cos(a), s = Math.sin(a);
    return new Float32Array([1, 0, 0, 0, 0, c, s, 0, 0, -s, c, 0, 0, 0, 0, 1]); };
  const rotateY = (a) => { const c = Math.cos(a), s = Math.sin(a);
    return new Float32Array([c, 0, -s, 0, 0, 1, 0, 0, s, 0, c, 0, 0, 0, 0, 1]); };
  // To WebGL's eye axes (x right, y up, looking along -z): from OpenCV's camera, and from a prop's Z-up frame.
  const FROM_CAMERA = new Float32Array([1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1]);
  const FROM_PROP = new Float32Array([1, 0, 0, 0, 0, 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  // --- the one context
  const surface = document.createElement("canvas");
  const gl = surface.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true, alpha: true });
  const viewers = document.querySelectorAll(".viewer");
  if (!gl) {
    viewers.forEach((v) => {
      const note = document.createElement("div");
      note.className = "empty";
      note.textContent = "This browser offers no WebGL 2; the 3D views need it. 此浏览器不支持 WebGL 2，无法显示三维视图。";
      v.querySelector("canvas").replaceWith(note);
    });
    return;
  }
  const program = (vertex, fragment) => {
    const p = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const s = gl.createShader(kind);
      gl.shaderSource(s, "#version 300 es\nprecision highp float;\n" + source);
      gl.compileShader(s);
      gl.attachShader(p, s);
    }
    ["position", "extra"].forEach((name, i) => gl.bindAttribLocation(p, i, name));
    gl.linkProgram(p);
    return p;
  };
  const POINTS = program(
    "in vec3 position; in vec3 extra; uniform mat4 matrix; uniform vec3 low, span; uniform float size; out vec3 c;" +
    "void main(){ gl_Position = matrix * vec4(low + span * position, 1.0); gl_PointSize = clamp(size * (low.z + span.z * position.z) / gl_Position.w, 1.0, 12.0); c = extra; }",
    "in vec3 c; out vec4 o; void main(){ o = vec4(c, 1.0); }");
  const MESH = program(
    "in vec3 position; in vec2 extra; uniform mat4 matrix, view; uniform vec3 low, span; out vec2 uv; out vec3 p;" +
    "void main(){ vec4 w = vec4(low + span * position, 1.0); gl_Position = matrix * w; p = (view * w).xyz; uv = extra; }",
    "in vec2 uv; in vec3 p; uniform sampler2D map; out vec4 o;" +
    "void main(){ vec3 n = normalize(cross(dFdx(p), dFdy(p))); float l = 0.72 + 0.28 * abs(n.z);" +
    "o = vec4(texture(map, vec2(uv.x, 1.0 - uv.y)).rgb * l, 1.0); }");
  const upload = (data, kind = gl.ARRAY_BUFFER) => {
    const buffer = gl.createBuffer();
    gl.bindBuffer(kind, buffer);
    gl.bufferData(kind, data, gl.STATIC_DRAW);
    return buffer;
  };
  const attribute = (slot, buffer, size, type) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribPointer(slot, size, type, true, 0, 0);
  };

  const blocks = JSON.parse(document.getElementById("blocks").textContent);
  const prepare = (viewer, redraw) => {
    const block = viewer.hasAttribute("data-points") ? blocks.points : blocks.meshes[viewer.dataset.mesh];
    const isMesh = !viewer.hasAttribute("data-points");
    const thing = { block, isMesh, position: upload(bytes(block.position)), ready: true };
    if (isMesh) {
      thing.extra = upload(bytes(block.uv));
      thing.index = upload(bytes(block.index), gl.ELEMENT_ARRAY_BUFFER);
      thing.texture = gl.createTexture();
      thing.ready = false;
      const image = new Image();
      image.onload = () => {
        gl.bindTexture(gl.TEXTURE_2D, thing.texture);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
        gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
        gl.generateMipmap(gl.TEXTURE_2D);
        thing.ready = true;
        redraw();
      };
      image.src = block.texture;
    } else thing.extra = upload(bytes(block.color));
    return thing;
  };

  const draw = (canvas, thing, turn) => {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const w = Math.max(1, Math.round(canvas.clientWidth * ratio)), h = Math.max(1, Math.round(canvas.clientHeight * ratio));
    canvas.width = w; canvas.height = h;
    if (surface.width < w || surface.height < h) { surface.width = Math.max(w, surface.width); surface.height = Math.max(h, surface.height); }
    const { block, isMesh } = thing;
    gl.viewport(0, 0, w, h);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, 0, w, h);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const size = Math.hypot(...block.span);
    let view, fov;
    if (isMesh) {
      fov = 0.6;
      const middle = block.low.map((v, i) => v + block.span[i] / 2);
      const distance = 0.42 * size / Math.sin(fov / 2) / turn.zoom;
      view = multiply(translate(0, 0, -distance), multiply(rotateX(turn.y), multiply(rotateY(turn.x),
        multiply(FROM_PROP, translate(-middle[0], -middle[1], -middle[2])))));
    } else {
      // Wide pictures keep their width, so that the first view is the still's own.
      fov = 2 * Math.atan(Math.tan(block.fov / 2) * Math.max(1, block.aspect / (w / h)));
      // Turned about what stands in the middle of the picture; unturned it is exactly the still's own view.
      const z = block.target[2];
      view = multiply(translate(0, 0, -z / turn.zoom), multiply(rotateX(turn.y), multiply(rotateY(turn.x),
        multiply(translate(0, 0, z), FROM_CAMERA))));
    }
    const matrix = multiply(perspective(fov, w / h, size / 2000, size * 4), view);
    const p = isMesh ? MESH : POINTS;
    gl.useProgram(p);
    gl.uniformMatrix4fv(gl.getUniformLocation(p, "matrix"), false, matrix);
    gl.uniform3fv(gl.getUniformLocation(p, "low"), block.low);
    gl.uniform3fv(gl.getUniformLocation(p, "span"), block.span);
    attribute(0, thing.position, 3, gl.UNSIGNED_SHORT);
    if (isMesh) {
      gl.uniformMatrix4fv(gl.getUniformLocation(p, "view"), false, view);
      attribute(1, thing.extra, 2, gl.UNSIGNED_SHORT);
      gl.bindTexture(gl.TEXTURE_2D, thing.texture);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, thing.index);
      gl.drawElements(gl.TRIANGLES, block.count, block.wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, 0);
    } else {
      attribute(1, thing.extra, 3, gl.UNSIGNED_BYTE);
      // Each point came from its share of the still: from the still's camera they close, nearer to it they grow.
      gl.uniform1f(gl.getUniformLocation(p, "size"), 1.25 * h * block.spacing * Math.min(1, w / h / block.aspect) + 0.5);
      gl.drawArrays(gl.POINTS, 0, block.count);
    }
    const flat = canvas.getContext("2d");
    flat.clearRect(0, 0, w, h);
    flat.drawImage(surface, 0, surface.height - h, w, h, 0, 0, w, h);
    canvas.dataset.drawn = "yes";
  };

  viewers.forEach((viewer) => {
    const canvas = viewer.querySelector("canvas");
    const home = viewer.hasAttribute("data-points") ? { x: 0, y: 0, zoom: 1 } : { x: -0.5, y: 0.25, zoom: 1 };
    if (viewer.hasAttribute("data-points")) canvas.style.aspectRatio = Math.max(0.7, Math.min(2.6, blocks.points.aspect));
    let thing = null, turn = { ...home }, waiting = false;
    const redraw = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        thing = thing || prepare(viewer, redraw);
        if (thing.ready) draw(canvas, thing, turn);
      });
    };
    const change = (dx, dy) => {
      turn.x += dx;
      turn.y = Math.max(-1.5, Math.min(1.5, turn.y + dy));
      redraw();
    };
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId))
        change(event.movementX * 0.01, event.pointerType === "touch" ? 0 : event.movementY * 0.01);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
      if (step) { event.preventDefault(); change(...step); }
      if (event.key === "+" || event.key === "-") { turn.zoom *= event.key === "+" ? 1.15 : 1 / 1.15; redraw(); }
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return; // the page scrolls until the view is chosen
      event.preventDefault();
      turn.zoom = Math.max(0.3, Math.min(6, turn.zoom * Math.exp(-event.deltaY * 0.001)));
      redraw();
    }, { passive: false });
    const reset = viewer.querySelector(".reset");
    if (reset) reset.addEventListener("click", () => { turn = { ...home }; redraw(); });
    new IntersectionObserver((seen) => { if (seen.some((s) => s.isIntersecting)) redraw(); }, { rootMargin: "200px" }).observe(viewer);
    new ResizeObserver(redraw).observe(canvas);
  });
})();
