// {{name}}: announces an incoming call as a line of text. The configuration is {"prefix": "Call from "}.
#include "bindings/transform_plugin.h"
#include "json.h"
#include <stdio.h>

// Set once, by configure; its text is JSON between quotes.
static char *prefix = "Incoming call from ";

static piece view(const transform_plugin_string_t *text) {
  return (piece){(const char *)text->ptr, text->len};
}

void exports_jackfield_plugin_lifecycle_describe(exports_jackfield_plugin_lifecycle_about_t *ret) {
  transform_plugin_string_dup(&ret->name, "{{name}}");
  transform_plugin_string_dup(&ret->version, "1.0.0");
  // The events it understands; a chain skips it for others.
  ret->events.len = 1;
  ret->events.ptr = malloc(sizeof *ret->events.ptr);
  transform_plugin_string_dup(&ret->events.ptr[0], "call.*");
  ret->config_schema.is_some = false;
}

// False refuses the configuration, and the tenant reads what `err` says. Whatever the host hands over is ours to free.
bool exports_jackfield_plugin_lifecycle_configure(transform_plugin_string_t *config, transform_plugin_string_t *err) {
  piece text = view(config), name, value, words;
  const char *p = text.at, *end = text.at + text.len;
  while (json_next(&p, end, &name, &value)) {
    if (!piece_is(name, "prefix")) {
      char words[120];
      int shown = name.len < 40 ? (int)name.len : 40;
      snprintf(words, sizeof words, "unknown field `%.*s`: there is only `prefix`", shown, name.at);
      transform_plugin_string_dup(err, words);
      return false;
    }
    if (!json_string(value, &words)) {
      transform_plugin_string_dup(err, "`prefix` must be a string");
      return false;
    }
    prefix = strndup(words.at, words.len);
  }
  transform_plugin_string_free(config);
  return true;
}

static bool refuse(exports_jackfield_plugin_transformer_failure_t *err, const char *message) {
  transform_plugin_string_dup(&err->code, "bad-input");
  transform_plugin_string_dup(&err->message, message);
  return false;
}

// False fails this one event.
bool exports_jackfield_plugin_transformer_transform(exports_jackfield_plugin_transformer_destination_t *to,
                                                    exports_jackfield_plugin_transformer_event_t *event,
                                                    exports_jackfield_plugin_transformer_verdict_t *ret,
                                                    exports_jackfield_plugin_transformer_failure_t *err) {
  piece caller;
  bool found = json_string(json_member(view(&event->data), "caller"), &caller);
  if (!found) {
    refuse(err, "`caller` is missing, or no text");
  } else if (piece_is(caller, "anonymous")) {
    ret->tag = JACKFIELD_PLUGIN_TYPES_VERDICT_DROP;
    ret->val.drop.is_some = true;
    transform_plugin_string_dup(&ret->val.drop.val, "anonymous caller");
  } else {
    static const char before[] = "{\"text\":\"", after[] = "\"}";
    size_t prefix_len = strlen(prefix);
    size_t len = strlen(before) + prefix_len + caller.len + strlen(after);
    char *body = malloc(len), *p = body;
    p = (char *)memcpy(p, before, strlen(before)) + strlen(before);
    p = (char *)memcpy(p, prefix, prefix_len) + prefix_len;
    p = (char *)memcpy(p, caller.at, caller.len) + caller.len;
    memcpy(p, after, strlen(after));

    ret->tag = JACKFIELD_PLUGIN_TYPES_VERDICT_EMIT;
    jackfield_plugin_types_output_t *output = &ret->val.emit;
    memset(output, 0, sizeof *output);
    transform_plugin_string_dup(&output->content_type, "application/json");
    output->body.tag = JACKFIELD_PLUGIN_TYPES_BODY_TEXT;
    output->body.val.text = (transform_plugin_string_t){(uint8_t *)body, len};
  }
  exports_jackfield_plugin_transformer_destination_free(to);
  exports_jackfield_plugin_transformer_event_free(event);
  return found;
}
