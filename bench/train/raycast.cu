// Renders whole batches of instanced triangle scenes by ray casting, with exact depth, normals and ids.
//
// One thread a pixel walks a two-level bounding volume hierarchy (scene of instances, mesh of triangles) for the
// primary ray, a shadow ray per light, one diffuse bounce on a quarter of the pixels and one mirror ray on shiny
// surfaces. A second kernel smooths the bounced light along surfaces (edge-avoiding a-trous filter, Dammertz 2010).
// The same source builds for the CPU (g++ -x c++ -fopenmp), which is how the conventions are tested without a GPU.
//
// World: metres, z up. Camera: x right, y down, z forward. Depth is the distance along z.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <unordered_map>
#include <vector>
#ifdef __CUDACC__
#define HD __host__ __device__ inline
#else
#define HD inline
#endif

struct V { float x, y, z; };
HD V operator+(V a, V b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
HD V operator-(V a, V b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
HD V operator*(V a, float s) { return {a.x * s, a.y * s, a.z * s}; }
HD V operator*(V a, V b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
HD float dot(V a, V b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
HD V cross(V a, V b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
HD V norm(V a) { return a * (1.0f / sqrtf(fmaxf(dot(a, a), 1e-20f))); }
HD V mix(V a, V b, float t) { return a * (1 - t) + b * t; }
HD V load(const float* p) { return {p[0], p[1], p[2]}; }
HD float clampf(float x, float lo, float hi) { return fminf(fmaxf(x, lo), hi); }

struct Node { float lo[2][3], hi[2][3]; int child[2], pad[2]; };  // child < 0: leaf ~(first << 3 | count)
struct Tri { float v0[3], e1[3], e2[3]; int id, mat, pad; };
struct Shade { int n[3]; float uv[6]; int mat; };                  // corner normals as 10-bit triples
struct Mat { float kd[3], spec, rough, pad; int tex, alpha; };
struct Tex { int offset, size; };
enum { INST = 40, LIGHT = 12, SCENE = 64, MAX_LIGHTS = 8 };

struct World {
  const Node* blas; const Tri* tris; const Shade* shade; const Mat* mats; const Tex* texs; const uint32_t* texels;
  const int* root; const uint16_t* sky;  // half floats, (n, 256, 512, 3)
};
struct Scene { const Node* tlas; const float* inst; const float* p; const float* lights; int nlights; };
struct Hit { float t, u, v; int inst, tri; };

HD uint32_t hash(uint32_t x) { x ^= x >> 16; x *= 0x7feb352dU; x ^= x >> 15; x *= 0x846ca68bU; x ^= x >> 16; return x; }
struct Rng { uint32_t s; HD float operator()() { s = hash(s + 0x9e3779b9U); return (s >> 8) * (1.0f / 16777216.0f); } };

HD float half_to_float(uint16_t h) {
  uint32_t e = (h >> 10) & 31, m = h & 1023, u = e == 0 ? 0 : ((e + 112) << 23) | (m << 13);
  float f; memcpy(&f, &u, 4); return f;
}
HD V texel(const World& w, int base, int size, int x, int y, float* alpha) {
  uint32_t c = w.texels[base + (y & (size - 1)) * size + (x & (size - 1))];
  if (alpha) *alpha = (c >> 24) / 255.0f;
  V s = {(c & 255) / 255.0f, (c >> 8 & 255) / 255.0f, (c >> 16 & 255) / 255.0f};
  return s * s;  // close to the sRGB curve, and cheap
}
HD V sample(const World& w, int tex, float u, float v, float footprint, float* alpha = nullptr) {
  Tex t = w.texs[tex];
  int base = t.offset, size = t.size;
  if (!(fabsf(u) < 1e5f) || !(fabsf(v) < 1e5f)) u = v = 0;
  for (float f = footprint * size; f > 1.4f && size > 1; f *= 0.5f) { base += size * size; size >>= 1; }
  float x = (u - floorf(u)) * size - 0.5f, y = (1 - (v - floorf(v))) * size - 0.5f;
  int ix = (int)floorf(x), iy = (int)floorf(y);
  float fx = x - ix, fy = y - iy;
  V a = texel(w, base, size, ix, iy, alpha), b = texel(w, base, size, ix + 1, iy, nullptr);
  V c = texel(w, base, size, ix, iy + 1, nullptr), d = texel(w, base, size, ix + 1, iy + 1, nullptr);
  return mix(mix(a, b, fx), mix(c, d, fx), fy);
}
HD float value_noise(V p) {
  float f[8]; int ix = (int)floorf(p.x), iy = (int)floorf(p.y), iz = (int)floorf(p.z);
  float x = p.x - ix, y = p.y - iy, z = p.z - iz;
  x = x * x * (3 - 2 * x); y = y * y * (3 - 2 * y); z = z * z * (3 - 2 * z);
  for (int i = 0; i < 8; i++)
    f[i] = (hash((ix + (i & 1)) * 73856093u ^ (iy + (i >> 1 & 1)) * 19349663u ^ (iz + (i >> 2)) * 83492791u) & 65535) / 65535.0f;
  float a = f[0] + (f[1] - f[0]) * x, b = f[2] + (f[3] - f[2]) * x, c = f[4] + (f[5] - f[4]) * x, d = f[6] + (f[7] - f[6]) * x;
  a += (b - a) * y; c += (d - c) * y; return a + (c - a) * z;
}
HD float fbm(V p) { return value_noise(p) * 0.5f + value_noise(p * 2.1f) * 0.27f + value_noise(p * 4.3f) * 0.15f + value_noise(p * 8.9f) * 0.08f; }

HD bool slab(const float* lo, const float* hi, V o, V inv, float tmax, float& tn) {
  float a = (lo[0] - o.x) * inv.x, b = (hi[0] - o.x) * inv.x, n = fminf(a, b), f = fmaxf(a, b);
  a = (lo[1] - o.y) * inv.y; b = (hi[1] - o.y) * inv.y; n = fmaxf(n, fminf(a, b)); f = fminf(f, fmaxf(a, b));
  a = (lo[2] - o.z) * inv.z; b = (hi[2] - o.z) * inv.z; n = fmaxf(n, fminf(a, b)); f = fminf(f, fmaxf(a, b));
  tn = fmaxf(n, 0.0f);
  return tn <= f * 1.00001f && tn < tmax && lo[0] <= hi[0];
}
HD V inverse(V d) {
  return {1 / (fabsf(d.x) > 1e-9f ? d.x : 1e-9f), 1 / (fabsf(d.y) > 1e-9f ? d.y : 1e-9f), 1 / (fabsf(d.z) > 1e-9f ? d.z : 1e-9f)};
}
HD bool cut_out(const World& w, int tri, float u, float v) {
  const Shade& s = w.shade[tri]; const Mat& m = w.mats[s.mat];
  if (!m.alpha || m.tex < 0) return false;
  float k = 1 - u - v, alpha;
  sample(w, m.tex, s.uv[0] * k + s.uv[2] * u + s.uv[4] * v, s.uv[1] * k + s.uv[3] * u + s.uv[5] * v, 0, &alpha);
  return alpha < 0.5f;
}
HD bool trace_mesh(const World& w, int root, V o, V d, Hit& hit, bool any) {
  int stack[40], top = 0, node = root; V inv = inverse(d); bool found = false;
  for (;;) {
    const Node& n = w.blas[node]; float t0, t1;
    bool h0 = slab(n.lo[0], n.hi[0], o, inv, hit.t, t0), h1 = slab(n.lo[1], n.hi[1], o, inv, hit.t, t1);
    int next = -1, order[2] = {0, 1}; bool h[2] = {h0, h1};
    if (t1 < t0) { order[0] = 1; order[1] = 0; }
    for (int k = 0; k < 2; k++) {
      int c = n.child[order[k]];
      if (!h[order[k]]) continue;
      if (c >= 0) { if (next < 0) next = c; else if (top < 40) stack[top++] = c; continue; }
      int first = ~c >> 3, count = ~c & 7;
      for (int i = first; i < first + count; i++) {
        const Tri& q = w.tris[i]; V e1 = load(q.e1), e2 = load(q.e2), p = cross(d, e2); float det = dot(e1, p);
        if (fabsf(det) < 1e-12f) continue;
        float r = 1 / det; V s = o - load(q.v0); float u = dot(s, p) * r; if (u < 0 || u > 1) continue;
        V x = cross(s, e1); float v = dot(d, x) * r; if (v < 0 || u + v > 1) continue;
        float t = dot(e2, x) * r; if (t <= 1e-5f || t >= hit.t) continue;
        if (q.mat && cut_out(w, q.id, u, v)) continue;
        hit.t = t; hit.u = u; hit.v = v; hit.tri = q.id; found = true; if (any) return true;
      }
    }
    if (next >= 0) node = next; else if (top) node = stack[--top]; else return found;
  }
}
HD V to_object(const float* m, V p, float w) {
  return {m[0] * p.x + m[1] * p.y + m[2] * p.z + m[3] * w, m[4] * p.x + m[5] * p.y + m[6] * p.z + m[7] * w, m[8] * p.x + m[9] * p.y + m[10] * p.z + m[11] * w};
}
HD bool trace(const World& w, const Scene& s, V o, V d, Hit& hit, bool shadow) {
  int stack[32], top = 0, node = 0; V inv = inverse(d); hit.inst = -1;
  for (;;) {
    const Node& n = s.tlas[node]; float t[2];
    bool h[2] = {slab(n.lo[0], n.hi[0], o, inv, hit.t, t[0]), slab(n.lo[1], n.hi[1], o, inv, hit.t, t[1])};
    int a = t[1] < t[0], next = -1;
    for (int k = 0; k < 2; k++) {
      int side = k ? 1 - a : a, c = n.child[side];
      if (!h[side] || t[side] >= hit.t) continue;
      if (c >= 0) { if (next < 0) next = c; else if (top < 32) stack[top++] = c; continue; }
      int id = ~c >> 3; const float* in = s.inst + (size_t)id * INST;
      if (shadow && ((int)in[15] & 1)) continue;
      if (trace_mesh(w, w.root[(int)in[12]], to_object(in, o, 1), to_object(in, d, 0), hit, shadow)) { hit.inst = id; if (shadow) return true; }
    }
    if (next >= 0) node = next; else if (top) node = stack[--top]; else return hit.inst >= 0;
  }
}

// Scene parameters: 0-2 eye, 3-5 right, 6-8 down, 9-11 forward, 12-13 fx fy, 14-15 cx cy (pixels), 16 sky image or -1,
// 17 sky turn, 18 sky gain, 19-21 zenith, 22-24 horizon, 25-27 ambient, 28 fog density, 29-31 fog colour, 32 cloud cover,
// 33 number of lights, 34 seed, 35 ground haze.
HD V sky(const World& w, const Scene& s, V d) {
  const float* p = s.p;
  if (p[16] >= 0) {
    float u = atan2f(d.y, d.x) * 0.15915494f + p[17], v = acosf(clampf(d.z, -1, 1)) * 0.31830989f;
    int x = (int)((u - floorf(u)) * 512) & 511, y = (int)fminf(255.0f, v * 256);
    const uint16_t* q = w.sky + (((size_t)(int)p[16] * 256 + y) * 512 + x) * 3;
    return V{half_to_float(q[0]), half_to_float(q[1]), half_to_float(q[2])} * p[18] * load(p + 19);
  }
  float h = clampf(d.z, 0, 1); V c = mix(load(p + 22), load(p + 19), sqrtf(h)) * p[18];
  if (p[32] > 0 && d.z > 0.02f) {
    V q = {d.x / (d.z + 0.1f), d.y / (d.z + 0.1f), p[34] * 17.0f};
    float cloud = clampf((fbm(q * 1.7f) - 1 + p[32]) * 4, 0, 1) * clampf(d.z * 6, 0, 1);
    c = mix(c, V{1, 1, 1} * (p[18] * 1.3f), cloud);
  }
  return c;
}
struct Surface { V p, n, face, albedo, emit; float refl, rough; };
HD V unpack(int n) { return V{(n & 1023) / 511.5f - 1, (n >> 10 & 1023) / 511.5f - 1, (n >> 20 & 1023) / 511.5f - 1}; }
HD V to_world(const float* m, V n) { return norm(V{m[0] * n.x + m[4] * n.y + m[8] * n.z, m[1] * n.x + m[5] * n.y + m[9] * n.z, m[2] * n.x + m[6] * n.y + m[10] * n.z}); }
HD Surface surface(const World& w, const Scene& s, V o, V d, const Hit& h, float cone) {
  const float* in = s.inst + (size_t)h.inst * INST; const Shade& q = w.shade[h.tri]; const Mat& m = w.mats[q.mat];
  Surface r; r.p = o + d * h.t; float k = 1 - h.u - h.v, foot = cone * h.t;
  V no = unpack(q.n[0]) * k + unpack(q.n[1]) * h.u + unpack(q.n[2]) * h.v;
  r.n = to_world(in, no); V po = to_object(in, r.p, 1), scale = load(in + 32), pm = po * scale;
  if (dot(r.n, d) > 0) r.n = r.n * -1.0f;
  V tint = load(in + 16); int tex = (int)in[19]; r.refl = in[22]; r.rough = in[21]; V base;
  if (tex == -1) {
    base = load(m.kd);
    if (m.tex >= 0) base = sample(w, m.tex, q.uv[0] * k + q.uv[2] * h.u + q.uv[4] * h.v, q.uv[1] * k + q.uv[3] * h.u + q.uv[5] * h.v, foot * 1.2f);
    float lum = base.x * 0.3f + base.y * 0.6f + base.z * 0.1f;
    base = mix(base, V{1, 1, 1} * lum * 1.5f, in[26]) * tint; r.refl = fmaxf(r.refl, m.spec * 0.15f);
  } else {
    V g = norm(no * V{1 / scale.x, 1 / scale.y, 1 / scale.z}); float ax = fabsf(g.x), ay = fabsf(g.y), az = fabsf(g.z), f = in[20];
    float cs = cosf(in[36]), sn = sinf(in[36]), u, v;
    if (az >= ax && az >= ay) { u = pm.x; v = pm.y; } else if (ax >= ay) { u = pm.y; v = pm.z; } else { u = pm.x; v = pm.z; }
    if (tex <= -3) { u = po.x + 0.5f; v = (ay >= ax && ay >= az) ? po.z + 0.5f : po.y + 0.5f; if (ax > ay && ax > az) { u = po.y + 0.5f; v = po.z + 0.5f; } base = sample(w, -3 - tex, u, v, foot / fmaxf(scale.x, 0.05f)) * tint; }
    else if (tex >= 0) base = sample(w, tex, (u * cs - v * sn) * f + in[37], (u * sn + v * cs) * f + in[38], foot * f) * tint;
    else base = tint;
    if (in[27] > 0) {
      float a = u * in[27], b = v * in[27]; int type = (int)in[28]; bool on = false;
      if (type == 1) on = (a - floorf(a)) < 0.5f;                                                   // stripes
      if (type == 2) on = ((int)floorf(a) + (int)floorf(b)) & 1;                                    // checks
      if (type == 3) { float y = floorf(b * 2), x = a + 0.5f * (((int)y) & 1); on = (x - floorf(x)) < 0.06f || (b * 2 - y) < 0.12f; }  // bricks
      if (type == 4) { float x = a - floorf(a), y = b - floorf(b); on = x > 0.28f && x < 0.72f && y > 0.22f && y < 0.78f; }            // windows
      if (type == 5) on = (a - floorf(a)) < 0.04f;                                                  // planks, seams
      if (type == 6) { float x = a - floorf(a) - 0.5f, y = b - floorf(b) - 0.5f; on = x * x + y * y < 0.08f; }                         // dots
      if (on && foot * in[27] < 0.6f) { base = load(in + 29); if (type == 4) { r.refl = 0.5f; r.rough = 0.02f; } }
    }
  }
  if (in[23] > 0) base = base * (1 + in[23] * (fbm(pm * in[24]) - 0.5f) * 2);
  r.albedo = {clampf(base.x, 0.01f, 0.92f), clampf(base.y, 0.01f, 0.92f), clampf(base.z, 0.01f, 0.92f)};
  r.emit = base * in[25];
  r.face = r.n;
  if (in[35] > 0 && foot * in[24] < 0.5f) {
    float e = 0.02f / fmaxf(in[24], 0.1f); V pq = pm * in[24]; float c0 = fbm(pq);
    V gr = {fbm(pq + V{e, 0, 0}) - c0, fbm(pq + V{0, e, 0}) - c0, fbm(pq + V{0, 0, e}) - c0};
    r.n = norm(r.n - (gr - r.n * dot(gr, r.n)) * (in[35] / e * 0.3f)); if (dot(r.n, d) > 0) r.n = r.face;
  }
  return r;
}
HD V spread(V n, float amount, Rng& rng) {
  float z = 2 * rng() - 1, a = 6.2831853f * rng(), q = sqrtf(fmaxf(0.0f, 1 - z * z));
  return norm(n + V{q * cosf(a), q * sinf(a), z} * amount);
}
// Light from one source on a surface. Lights: 0-2 position or direction, 3 radius (metres, or of the unit sun vector),
// 4-6 colour, 7 type (0 ball, 1 sun, 2 downward panel or window), 8-10 panel normal, 11 panel half-width.
HD V light(const World& w, const Scene& s, const float* l, const Surface& f, V d, Rng& rng, bool gloss) {
  V dir, colour = load(l + 4); float reach = 1e9f, gain = 1;
  if (l[7] == 1) dir = spread(load(l), l[3], rng);
  else {
    V at = load(l) + spread(V{0, 0, 0}, 1, rng) * (l[7] == 2 ? l[11] * sqrtf(rng()) : l[3]); V to = at - f.p;
    reach = sqrtf(fmaxf(dot(to, to), 1e-4f)); dir = to * (1 / reach); gain = 1 / fmaxf(reach * reach, 0.02f);
    if (l[7] == 2) gain *= fmaxf(0.0f, -dot(dir, load(l + 8)));
    reach -= l[7] == 2 ? 0.02f : l[3] * 1.1f + 0.01f;
  }
  float c = dot(f.n, dir);
  if (c <= 0 || gain <= 1e-5f || dot(f.face, dir) <= 0) return {0, 0, 0};
  Hit h; h.t = reach;
  if (trace(w, s, f.p + f.face * 2e-3f, dir, h, true)) return {0, 0, 0};
  V out = f.albedo * (c * gain);
  if (gloss && f.refl > 0) { V half = norm(dir - d); float p = 2 / fmaxf(f.rough * f.rough, 1e-3f); out = out + V{1, 1, 1} * (f.refl * gain * fminf(4.0f, (p + 2) * 0.04f) * powf(fmaxf(0.0f, dot(half, f.n)), p)); }
  return out * colour;
}
HD V shade_far(const World& w, const Scene& s, V o, V d, Rng& rng, bool all) {  // what a bounced or mirrored ray brings back
  Hit h; h.t = 1e9f; if (!trace(w, s, o, d, h, false)) return sky(w, s, d);
  Surface f = surface(w, s, o, d, h, 0.05f); V c = f.emit + f.albedo * load(s.p + 25);
  if (all) for (int k = 0; k < s.nlights; k++) c = c + light(w, s, s.lights + k * LIGHT, f, d, rng, false);
  else if (s.nlights) { int k = (int)fminf(s.nlights - 1.0f, rng() * s.nlights); c = c + light(w, s, s.lights + k * LIGHT, f, d, rng, false) * (float)s.nlights; }
  return c;
}
HD void pixel(const World& w, const Scene& s, int x, int y, int W, int H, float* depth, float* rgb, float* bounce, float* albedo, float* normal, int* ids) {
  const float* p = s.p; Rng rng{hash(x * 9781u + y * 6271u + (uint32_t)p[34] * 26699u)};
  float px = x + 0.5f, py = y + 0.5f;
  float cx = (px - p[14]) / p[12], cy = (py - p[15]) / p[13]; V right = load(p + 3), down = load(p + 6), fwd = load(p + 9), eye = load(p);
  V d = right * cx + down * cy + fwd; float len = sqrtf(dot(d, d)); d = d * (1 / len);
  Hit h; h.t = 1e9f; bounce[0] = bounce[1] = bounce[2] = -1;
  if (!trace(w, s, eye, d, h, false)) {
    V c = sky(w, s, d); rgb[0] = c.x; rgb[1] = c.y; rgb[2] = c.z; *depth = 0; normal[0] = normal[1] = normal[2] = 0; albedo[0] = albedo[1] = albedo[2] = 0; *ids = 2 << 16; return;
  }
  Surface f = surface(w, s, eye, d, h, 1.2f / p[12]); const float* in = s.inst + (size_t)h.inst * INST; V c = f.emit;
  V soft = {0, 0, 0}; Surface white = f; white.albedo = {1, 1, 1};
  for (int k = 0; k < s.nlights; k++) {  // wide sources are noisy with one shadow ray: they are smoothed with the bounced light
    const float* l = s.lights + k * LIGHT;
    if (l[7] == 2 || l[3] > 0.12f) soft = soft + light(w, s, l, white, d, rng, false); else c = c + light(w, s, l, f, d, rng, true);
  }
  float fres = f.refl + (1 - f.refl) * powf(1 - fabsf(dot(f.n, d)), 5) * (f.refl > 0.02f ? 0.6f : 0);
  if (fres > 0.04f && f.rough < 0.4f) {
    V m = spread(d - f.n * (2 * dot(f.n, d)), f.rough * 0.5f, rng); V q = shade_far(w, s, f.p + f.face * 2e-3f, m, rng, true);
    c = c + V{fminf(q.x, 8), fminf(q.y, 8), fminf(q.z, 8)} * fres;
  }
  if (hash(x / 2 * 331u + y / 2 * 7919u + (uint32_t)p[34]) % 4 == (uint32_t)((x & 1) + 2 * (y & 1))) {
    V q = shade_far(w, s, f.p + f.face * 2e-3f, spread(f.n, 0.999f, rng), rng, false); soft = soft + V{fminf(q.x, 6), fminf(q.y, 6), fminf(q.z, 6)} * 4;
  }
  bounce[0] = soft.x; bounce[1] = soft.y; bounce[2] = soft.z;
  *depth = h.t / len; rgb[0] = c.x; rgb[1] = c.y; rgb[2] = c.z; albedo[0] = f.albedo.x; albedo[1] = f.albedo.y; albedo[2] = f.albedo.z;
  normal[0] = dot(f.face, right); normal[1] = dot(f.face, down); normal[2] = dot(f.face, fwd); *ids = (int)in[14] | (int)in[13] << 16;
}
HD void smooth(const float* in, float* out, const float* depth, const float* normal, int x, int y, int W, int H, int step) {
  size_t i = (size_t)y * W + x; float z = depth[i], sum[3] = {0, 0, 0}, total = 0; V n = load(normal + i * 3);
  for (int b = -2; b <= 2; b++) for (int a = -2; a <= 2; a++) {
    int u = x + a * step, v = y + b * step; if (u < 0 || v < 0 || u >= W || v >= H) continue;
    size_t j = (size_t)v * W + u; const float* q = in + j * 3; if (q[0] < 0 || depth[j] <= 0) continue;
    float k = powf(fmaxf(0.0f, dot(n, load(normal + j * 3))), 8) * expf(-fabsf(depth[j] - z) / (0.03f * z * (step < 4 ? step : 4) + 1e-4f)) * (a * a + b * b < 3 ? 1.0f : 0.5f);
    if (k < 1e-4f) continue;
    sum[0] += q[0] * k; sum[1] += q[1] * k; sum[2] += q[2] * k; total += k;
  }
  for (int k = 0; k < 3; k++) out[i * 3 + k] = total > 0 ? sum[k] / total : (z > 0 ? -1.0f : 0.0f);
}
HD void compose(const Scene& s, float* rgb, const float* bounce, const float* albedo, float depth) {
  const float* p = s.p;
  for (int k = 0; k < 3; k++) {
    float c = rgb[k] + albedo[k] * (bounce[k] < 0 ? p[25 + k] : bounce[k]);
    if (p[28] > 0 && depth > 0) { float f = 1 - expf(-p[28] * depth); c = c * (1 - f) + p[29 + k] * f; }
    rgb[k] = fminf(fmaxf(c, 0.0f), 6e4f);
  }
}

// ---- hierarchies, built on the CPU (surface area heuristic over 12 bins)
struct Box { float lo[3] = {1e30f, 1e30f, 1e30f}, hi[3] = {-1e30f, -1e30f, -1e30f};
  void add(const Box& b) { for (int k = 0; k < 3; k++) { lo[k] = std::min(lo[k], b.lo[k]); hi[k] = std::max(hi[k], b.hi[k]); } }
  float area() const { float x = hi[0] - lo[0], y = hi[1] - lo[1], z = hi[2] - lo[2]; return x < 0 ? 0 : x * y + y * z + z * x; } };
struct Builder {
  const std::vector<Box>& boxes; std::vector<int> order; std::vector<Node> nodes; int leaf, offset;
  Box bounds(int a, int b) { Box r; for (int i = a; i < b; i++) r.add(boxes[order[i]]); return r; }
  int split(int a, int b) {
    Box c; for (int i = a; i < b; i++) { Box q; for (int k = 0; k < 3; k++) q.lo[k] = q.hi[k] = (boxes[order[i]].lo[k] + boxes[order[i]].hi[k]) / 2; c.add(q); }
    float best = 1e30f; int axis = -1, cut = 0;
    for (int k = 0; k < 3; k++) {
      float w = c.hi[k] - c.lo[k]; if (w < 1e-7f) continue;
      Box bin[12]; int n[12] = {0};
      for (int i = a; i < b; i++) { const Box& q = boxes[order[i]]; int j = std::min(11, (int)(((q.lo[k] + q.hi[k]) / 2 - c.lo[k]) / w * 12)); bin[j].add(q); n[j]++; }
      for (int j = 1; j < 12; j++) { Box l, r; int nl = 0, nr = 0; for (int t = 0; t < j; t++) { l.add(bin[t]); nl += n[t]; } for (int t = j; t < 12; t++) { r.add(bin[t]); nr += n[t]; }
        float cost = l.area() * nl + r.area() * nr; if (nl && nr && cost < best) { best = cost; axis = k; cut = j; } }
    }
    if (axis < 0) return (a + b) / 2;
    float w = c.hi[axis] - c.lo[axis], lo = c.lo[axis];
    return std::partition(order.begin() + a, order.begin() + b, [&](int i) { return std::min(11, (int)(((boxes[i].lo[axis] + boxes[i].hi[axis]) / 2 - lo) / w * 12)) < cut; }) - order.begin();
  }
  void fill(int node, int side, int a, int b) {
    Box q = bounds(a, b); memcpy(nodes[node].lo[side], q.lo, 12); memcpy(nodes[node].hi[side], q.hi, 12);
    int c = b - a <= leaf ? ~((a + (leaf == 1 ? 0 : offset)) << 3 | (b - a)) : inner(a, b);
    if (b - a <= leaf && leaf == 1 && b > a) c = ~(order[a] << 3 | 1);
    nodes[node].child[side] = c;
  }
  int inner(int a, int b) {
    int node = nodes.size(); nodes.emplace_back(); memset(&nodes[node], 0, sizeof(Node)); int m = b - a < 2 ? b : split(a, b); if (b - a >= 2 && (m == a || m == b)) m = (a + b) / 2;
    fill(node, 0, a, m); fill(node, 1, m, b); return node;
  }
};
extern "C" {
// Triangles of all meshes (n,3,3 float) -> nodes (room for 2n + meshes), order (n), root of each mesh; returns the node count.
int build_meshes(const float* corners, const int* first, const int* count, int meshes, Node* nodes, int* order, int* root) {
  std::vector<std::vector<Node>> all(meshes);
#pragma omp parallel for schedule(dynamic, 4)
  for (int m = 0; m < meshes; m++) {
    std::vector<Box> boxes(count[m]);
    for (int i = 0; i < count[m]; i++) for (int c = 0; c < 3; c++) { Box q; memcpy(q.lo, corners + ((size_t)(first[m] + i) * 3 + c) * 3, 12); memcpy(q.hi, q.lo, 12); boxes[i].add(q); }
    Builder b{boxes, std::vector<int>(count[m]), {}, 3, first[m]}; std::iota(b.order.begin(), b.order.end(), 0); b.inner(0, count[m]);
    for (int i = 0; i < count[m]; i++) order[first[m] + i] = first[m] + b.order[i];
    all[m] = std::move(b.nodes);
  }
  int n = 0;
  for (int m = 0; m < meshes; m++) { root[m] = n; for (Node q : all[m]) { for (int k = 0; k < 2; k++) if (q.child[k] >= 0) q.child[k] += root[m]; nodes[n++] = q; } }
  return n;
}
// Corner normals packed as 10-bit triples (n,3): smooth where the surface bends less than about 45 degrees, else flat.
void corner_normals(const float* corners, const int* first, const int* count, int meshes, int* out) {
#pragma omp parallel for schedule(dynamic, 4)
  for (int m = 0; m < meshes; m++) {
    std::unordered_map<uint64_t, V> total; total.reserve(count[m] * 2); std::vector<V> face(count[m]); std::vector<uint64_t> key((size_t)count[m] * 3);
    for (int i = 0; i < count[m]; i++) {
      const float* c = corners + (size_t)(first[m] + i) * 9; face[i] = cross(load(c + 3) - load(c), load(c + 6) - load(c));
      for (int k = 0; k < 3; k++) {
        uint64_t h = 0; for (int a = 0; a < 3; a++) h = h << 21 | ((uint64_t)(int64_t)lroundf(c[k * 3 + a] * 10000.0f) & 0x1fffff);
        key[i * 3 + k] = h; auto it = total.emplace(h, V{0, 0, 0}).first; it->second = it->second + face[i];
      }
    }
    for (int i = 0; i < count[m]; i++) { V f = norm(face[i]); for (int k = 0; k < 3; k++) {
      V n = norm(total[key[i * 3 + k]]); if (dot(n, f) < 0.7f) n = f; auto q = [](float x) { return std::min(1023, std::max(0, (int)lroundf((x + 1) * 511.5f))); };
      out[(size_t)(first[m] + i) * 3 + k] = q(n.x) | q(n.y) << 10 | q(n.z) << 20; } }
  }
}
// Boxes of each scene's instances (scenes, room, 6 float) -> nodes (scenes, room), room >= instances, at least one.
void build_scenes(const float* bounds, const int* count, int scenes, int room, Node* nodes) {
#pragma omp parallel for schedule(dynamic, 1)
  for (int s = 0; s < scenes; s++) {
    std::vector<Box> boxes(count[s]);
    for (int i = 0; i < count[s]; i++) { memcpy(boxes[i].lo, bounds + ((size_t)s * room + i) * 6, 12); memcpy(boxes[i].hi, bounds + ((size_t)s * room + i) * 6 + 3, 12); }
    Builder b{boxes, std::vector<int>(count[s]), {}, 1, 0}; std::iota(b.order.begin(), b.order.end(), 0); b.inner(0, count[s]);
    memcpy(nodes + (size_t)s * room, b.nodes.data(), b.nodes.size() * sizeof(Node));
  }
}
}
#ifdef __CUDACC__
__device__ Scene scene_at(const Node* tlas, const float* inst, const float* params, const float* lights, int room, int s) {
  return {tlas + (size_t)s * room, inst + (size_t)s * room * INST, params + s * SCENE, lights + s * MAX_LIGHTS * LIGHT, (int)params[s * SCENE + 33]};
}
__global__ void __launch_bounds__(128) k_pixels(World w, const Node* tlas, const float* inst, const float* params, const float* lights, int room, int W, int H, float* depth, float* rgb, float* bounce, float* albedo, float* normal, int* ids) {
  int x = blockIdx.x * 16 + (threadIdx.x & 15), y = blockIdx.y * 8 + (threadIdx.x >> 4); if (x >= W || y >= H) return;
  Scene s = scene_at(tlas, inst, params, lights, room, blockIdx.z); size_t i = ((size_t)blockIdx.z * H + y) * W + x;
  pixel(w, s, x, y, W, H, depth + i, rgb + i * 3, bounce + i * 3, albedo + i * 3, normal + i * 3, ids + i);
}
__global__ void k_smooth(const float* in, float* out, const float* depth, const float* normal, int W, int H, int step) {
  int x = blockIdx.x * 16 + (threadIdx.x & 15), y = blockIdx.y * 16 + (threadIdx.x >> 4); if (x >= W || y >= H) return;
  size_t o = (size_t)blockIdx.z * H * W; smooth(in + o * 3, out + o * 3, depth + o, normal + o * 3, x, y, W, H, step);
}
__global__ void k_compose(const float* params, float* rgb, const float* bounce, const float* albedo, const float* depth, int n) {
  int i = blockIdx.x * 256 + threadIdx.x; if (i >= n) return; Scene s{}; s.p = params + blockIdx.y * SCENE;
  size_t o = (size_t)blockIdx.y * n + i; compose(s, rgb + o * 3, bounce + o * 3, albedo + o * 3, depth[o]);
}
extern "C" int render(const World* w, const Node* tlas, const float* inst, const float* params, const float* lights, int room, int scenes, int W, int H, float* depth, float* rgb, float* bounce, float* scratch, float* albedo, float* normal, int* ids, void* stream) {
  auto st = (cudaStream_t)stream;
  k_pixels<<<dim3((W + 15) / 16, (H + 7) / 8, scenes), 128, 0, st>>>(*w, tlas, inst, params, lights, room, W, H, depth, rgb, bounce, albedo, normal, ids);
  dim3 g((W + 15) / 16, (H + 15) / 16, scenes); float* a = bounce; float* b = scratch;
  for (int step : {1, 2, 4, 8}) { k_smooth<<<g, 256, 0, st>>>(a, b, depth, normal, W, H, step); std::swap(a, b); }
  k_compose<<<dim3((W * H + 255) / 256, scenes), 256, 0, st>>>(params, rgb, a, albedo, depth, W * H);
  return (int)cudaGetLastError();
}
#else
extern "C" int render(const World* w, const Node* tlas, const float* inst, const float* params, const float* lights, int room, int scenes, int W, int H, float* depth, float* rgb, float* bounce, float* scratch, float* albedo, float* normal, int* ids, void*) {
  for (int k = 0; k < scenes; k++) {
    Scene s = {tlas + (size_t)k * room, inst + (size_t)k * room * INST, params + k * SCENE, lights + k * MAX_LIGHTS * LIGHT, (int)params[k * SCENE + 33]}; size_t o = (size_t)k * W * H;
#pragma omp parallel for schedule(dynamic, 4)
    for (int y = 0; y < H; y++) for (int x = 0; x < W; x++) { size_t i = o + (size_t)y * W + x; pixel(*w, s, x, y, W, H, depth + i, rgb + i * 3, bounce + i * 3, albedo + i * 3, normal + i * 3, ids + i); }
    float* a = bounce; float* b = scratch;
    for (int step : {1, 2, 4, 8}) {
#pragma omp parallel for
      for (int y = 0; y < H; y++) for (int x = 0; x < W; x++) smooth(a + o * 3, b + o * 3, depth + o, normal + o * 3, x, y, W, H, step);
      std::swap(a, b);
    }
    for (size_t i = 0; i < (size_t)W * H; i++) compose(s, rgb + (o + i) * 3, a + (o + i) * 3, albedo + (o + i) * 3, depth[o + i]);
  }
  return 0;
}
#endif
