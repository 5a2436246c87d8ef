/* Events: built by their sender, given away on firing, delivered by FreeSWITCH's own threads. */
#ifndef FREESWITCH_ABI_EVENT_H
#define FREESWITCH_ABI_EVENT_H

#include "types.h"

typedef enum {
	SWITCH_EVENT_CUSTOM = 0,
	SWITCH_EVENT_CLONE = 1,
	SWITCH_EVENT_CHANNEL_DESTROY = 3,
	SWITCH_EVENT_CHANNEL_ANSWER = 6,
	SWITCH_EVENT_CHANNEL_BRIDGE = 13,
	SWITCH_EVENT_CHANNEL_UNBRIDGE = 14,
	SWITCH_EVENT_CHANNEL_PROGRESS_MEDIA = 16,
	SWITCH_EVENT_RELOADXML = 56
} switch_event_types_t;

/* Which end of the list of headers a new one joins. */
typedef enum {
	SWITCH_STACK_BOTTOM = 1 << 0,
	SWITCH_STACK_TOP = 1 << 1,
	SWITCH_STACK_UNSHIFT = 1 << 2,
	SWITCH_STACK_PUSH = 1 << 3
} switch_stack_t;

/* A subclass has one owner, compared as a string; only the same owner can free it. */
switch_status_t switch_event_reserve_subclass_detailed(const char *owner, const char *subclass_name);
switch_status_t switch_event_free_subclass_detailed(const char *owner, const char *subclass_name);

switch_status_t switch_event_create_subclass_detailed(const char *file, const char *func, int line,
													  switch_event_t **event, switch_event_types_t event_id,
													  const char *subclass_name);
/* Name and value are copied. */
switch_status_t switch_event_add_header_string(switch_event_t *event, switch_stack_t stack, const char *header_name,
											   const char *data);
/* An index of -1 gives the whole value. The string belongs to the event. */
char *switch_event_get_header_idx(switch_event_t *event, const char *header_name, int idx);
switch_status_t switch_event_set_body(switch_event_t *event, const char *body);
switch_status_t switch_event_add_body(switch_event_t *event, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Removes the headers of that name; with `val` only those of that value. */
switch_status_t switch_event_del_header_val(switch_event_t *event, const char *header_name, const char *val);
/* Copies the headers of `tomerge` into `event`. */
void switch_event_merge(switch_event_t *event, switch_event_t *tomerge);
switch_status_t switch_event_dup(switch_event_t **event, switch_event_t *todup);
/* Takes the event over, whatever the result, and clears the pointer. */
switch_status_t switch_event_fire_detailed(const char *file, const char *func, int line, switch_event_t **event,
										   void *user_data);
void switch_event_destroy(switch_event_t **event);

/* Called with each event of the kind, on a thread of FreeSWITCH's; the event is only lent. */
typedef void (*switch_event_callback_t)(switch_event_t *event);
typedef struct switch_event_node switch_event_node_t;
switch_status_t switch_event_bind_removable(const char *id, switch_event_types_t event, const char *subclass_name,
											switch_event_callback_t callback, void *user_data,
											switch_event_node_t **node);
/* Waits for a callback that runs; none runs afterwards. */
switch_status_t switch_event_unbind(switch_event_node_t **node);

#endif
