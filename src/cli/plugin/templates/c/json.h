// Just enough JSON for a plugin that reads single members: find one, and write text back. Texts stay as they are written
// between their quotes, escapes included, so that one can be put into other JSON without being understood.
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// A piece of somebody else's text; `at` is NULL for nothing.
typedef struct {
  const char *at;
  size_t len;
} piece;

static inline bool piece_is(piece a, const char *word) {
  return a.len == strlen(word) && memcmp(a.at, word, a.len) == 0;
}

static inline const char *json_skip_space(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
  return p;
}

// Behind the closing quote of the string that begins at `p`.
static inline const char *json_skip_string(const char *p, const char *end) {
  for (p++; p < end && *p != '"'; p++)
    if (*p == '\\') p++;
  return p < end ? p + 1 : end;
}

// Behind the value that begins at `p`.
static inline const char *json_skip_value(const char *p, const char *end) {
  int depth = 0;
  while (p < end) {
    if (*p == '"') {
      p = json_skip_string(p, end);
      if (depth == 0) return p;
      continue;
    }
    if (*p == '{' || *p == '[') depth++;
    if (*p == '}' || *p == ']') {
      // The end of what the value stands in, or its own.
      if (depth == 0) return p;
      if (--depth == 0) return p + 1;
    }
    if (*p == ',' && depth == 0) return p;
    p++;
  }
  return end;
}

// The next member of the object, whose place `*p` is: at first the object's beginning. False when there is none.
static inline bool json_next(const char **p, const char *end, piece *name, piece *value) {
  const char *at = json_skip_space(*p, end);
  if (at < end && (*at == '{' || *at == ',')) at = json_skip_space(at + 1, end);
  if (at >= end || *at != '"') return false;
  const char *name_end = json_skip_string(at, end);
  name->at = at + 1;
  name->len = (size_t)(name_end - at) - 2;
  at = json_skip_space(name_end, end);
  if (at >= end || *at != ':') return false;
  at = json_skip_space(at + 1, end);
  value->at = at;
  at = json_skip_value(at, end);
  value->len = (size_t)(at - value->at);
  *p = json_skip_space(at, end);
  return true;
}

// The member `name` of the object in `text`, as JSON; nothing where it is not there.
static inline piece json_member(piece text, const char *name) {
  const char *p = text.at, *end = text.at + text.len;
  piece key, value;
  while (json_next(&p, end, &key, &value))
    if (piece_is(key, name)) return value;
  return (piece){NULL, 0};
}

// What stands between the quotes, when the value is a string.
static inline bool json_string(piece value, piece *text) {
  while (value.len > 0 && strchr(" \t\r\n", value.at[value.len - 1])) value.len--;
  if (value.at == NULL || value.len < 2 || value.at[0] != '"') return false;
  *text = (piece){value.at + 1, value.len - 2};
  return true;
}

#endif
