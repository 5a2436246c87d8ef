/* Calls: the thread of each session, the caller at the other end of it, and the test's hold on both. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

struct queued_application {
	char *name, *data;
	struct queued_application *next;
};

struct host_call {
	char *uuid;
	pthread_t thread;
	bool virtual_clock, comfort_noise;
	/* All below. Taken inside FreeSWITCH's locks, never around them. */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	switch_core_session_t *session;
	bool ended, waiting, running_application;
	int kind;
	char *peer;
	uint32_t ticks;
	int64_t next_frame_ns;
	uint64_t frames_read;
	/* By how much a frame was read too late, at most. */
	int64_t latest_ns;
	struct buffer speech, file, heard, recorded;
	struct buffer heard_times, heard_sizes;
	bool keeps_nothing;
	struct buffer pressed;
	struct queued_application *applications;
	uint32_t executed;
	/* The length of the packets the caller sends, 0: as agreed; and what of the last one is still to pass before the next. */
	uint32_t packet_ms, packet_left_ms;
};

/* The session, held for reading like any of FreeSWITCH's own threads would, or NULL when it is over. */
static switch_core_session_t *hold(host_call *call)
{
	pthread_mutex_lock(&call->mutex);
	switch_core_session_t *session = call->session;
	if (session && switch_thread_rwlock_tryrdlock(session->rwlock) != SWITCH_STATUS_SUCCESS) {
		session = NULL;
	}
	pthread_mutex_unlock(&call->mutex);
	return session;
}

/* What the caller's packets tell of keys, as an endpoint does before it hands out the audio. */
static void endpoint_digits(switch_core_session_t *session)
{
	host_call *call = session->call;
	for (switch_dtmf_t dtmf;;) {
		pthread_mutex_lock(&call->mutex);
		size_t got = buffer_read(&call->pressed, &dtmf, sizeof(dtmf));
		pthread_mutex_unlock(&call->mutex);
		if (got < sizeof(dtmf)) {
			return;
		}
		channel_queue_dtmf(session->channel, &dtmf);
	}
}

void endpoint_take(switch_core_session_t *session, switch_frame_t *frame)
{
	host_call *call = session->call;
	const switch_codec_implementation_t *impl = &session->read_impl;
	size_t bytes = impl->decoded_bytes_per_packet;
	uint32_t agreed_ms = (uint32_t)impl->microseconds_per_packet / 1000;
	frame->data = session->raw_read_data;
	frame->buflen = sizeof(session->raw_read_data);
	pthread_mutex_lock(&call->mutex);
	bool nothing = call->packet_left_ms >= agreed_ms;
	if (nothing) {
		call->packet_left_ms -= agreed_ms;
	} else if (call->packet_ms) {
		bytes = bytes * call->packet_ms / agreed_ms;
		call->packet_left_ms += call->packet_ms - agreed_ms;
	}
	size_t spoken = nothing ? 0 : buffer_read(&call->speech, frame->data, bytes);
	call->frames_read++;
	pthread_mutex_unlock(&call->mutex);
	memset((uint8_t *)frame->data + spoken, 0, bytes - spoken);
	frame->datalen = (uint32_t)bytes;
	frame->samples = (uint32_t)(bytes / 2 / impl->number_of_channels);
	frame->rate = impl->actual_samples_per_second;
	frame->channels = impl->number_of_channels;
	frame->flags = nothing || (call->comfort_noise && !spoken) ? SFF_CNG : SFF_NONE;
}

bool endpoint_wait(switch_core_session_t *session)
{
	host_call *call = session->call;
	if (!call->virtual_clock) {
		mutex_lock(session->codec_read_mutex);
		int64_t period = (int64_t)session->read_impl.microseconds_per_packet * 1000;
		mutex_unlock(session->codec_read_mutex);
		/* A late reader gets what has waited, but not minutes of it. */
		int64_t late = now_ns() - call->next_frame_ns;
		if (call->next_frame_ns < now_ns() - 10 * period) {
			call->next_frame_ns = now_ns();
		}
		sleep_until_ns(call->next_frame_ns);
		late = now_ns() - call->next_frame_ns > late ? now_ns() - call->next_frame_ns : late;
		call->next_frame_ns += period;
		pthread_mutex_lock(&call->mutex);
		call->latest_ns = late > call->latest_ns ? late : call->latest_ns;
		pthread_mutex_unlock(&call->mutex);
		endpoint_digits(session);
		return !channel_down(session->channel);
	}
	pthread_mutex_lock(&call->mutex);
	while (!call->ticks && !channel_down(session->channel) && (call->running_application || !call->applications)) {
		call->waiting = true;
		pthread_cond_broadcast(&call->changed);
		pthread_cond_wait(&call->changed, &call->mutex);
	}
	call->waiting = false;
	bool frame_due = call->ticks && !channel_down(session->channel);
	if (call->ticks) {
		call->ticks--;
	}
	pthread_mutex_unlock(&call->mutex);
	if (frame_due) {
		endpoint_digits(session);
	}
	return frame_due;
}

static _Thread_local bool on_session_thread;

bool endpoint_stands_still(switch_core_session_t *session)
{
	return session->call->virtual_clock && !on_session_thread;
}

void endpoint_wake(switch_core_session_t *session)
{
	host_call *call = session->call;
	pthread_mutex_lock(&call->mutex);
	pthread_cond_broadcast(&call->changed);
	pthread_mutex_unlock(&call->mutex);
}

void endpoint_write(switch_core_session_t *session, const switch_frame_t *frame)
{
	host_call *call = session->call;
	/* Who holds the call is sent nothing, though frames are written. */
	if (session->channel->flags[CF_PROTO_HOLD]) {
		return;
	}
	int64_t now = now_ns();
	uint32_t samples = frame->datalen / 2;
	pthread_mutex_lock(&call->mutex);
	if (!call->keeps_nothing) {
		buffer_write(&call->heard, frame->data, frame->datalen);
		buffer_write(&call->heard_times, &now, sizeof(now));
		buffer_write(&call->heard_sizes, &samples, sizeof(samples));
	}
	pthread_mutex_unlock(&call->mutex);
}

/* Runs what the test has queued for the dialplan. */
static void run_applications(switch_core_session_t *session)
{
	host_call *call = session->call;
	for (;;) {
		pthread_mutex_lock(&call->mutex);
		struct queued_application *next = call->applications;
		if (next) {
			call->applications = next->next;
			call->running_application = true;
		}
		pthread_mutex_unlock(&call->mutex);
		if (!next) {
			return;
		}
		application_execute(session, next->name, next->data);
		free(next->name);
		free(next->data);
		free(next);
		pthread_mutex_lock(&call->mutex);
		call->running_application = false;
		call->executed++;
		pthread_cond_broadcast(&call->changed);
		pthread_mutex_unlock(&call->mutex);
	}
}

static void play(switch_core_session_t *session)
{
	host_call *call = session->call;
	_Alignas(8) uint8_t data[SWITCH_RECOMMENDED_BUFFER_SIZE];
	/* A playback has a codec of its own, of the session's shape. */
	mutex_lock(session->codec_write_mutex);
	switch_codec_implementation_t impl = session->write_impl;
	mutex_unlock(session->codec_write_mutex);
	switch_codec_t codec;
	if (switch_core_codec_init_with_bitrate(&codec, "L16", NULL, NULL, impl.actual_samples_per_second,
											impl.microseconds_per_packet / 1000, impl.number_of_channels, 0,
											SWITCH_CODEC_FLAG_ENCODE | SWITCH_CODEC_FLAG_DECODE, NULL,
											NULL) != SWITCH_STATUS_SUCCESS) {
		abort();
	}
	pthread_mutex_lock(&call->mutex);
	size_t size = buffer_read(&call->file, data, impl.decoded_bytes_per_packet);
	pthread_mutex_unlock(&call->mutex);
	memset(data + size, 0, impl.decoded_bytes_per_packet - size);
	switch_frame_t frame = {.codec = &codec,
							.data = data,
							.datalen = impl.decoded_bytes_per_packet,
							.buflen = sizeof(data),
							.samples = impl.samples_per_packet,
							.rate = impl.actual_samples_per_second,
							.channels = impl.number_of_channels};
	switch_core_session_write_frame(session, &frame, SWITCH_IO_FLAG_NONE, 0);
	switch_core_codec_destroy(&codec);
}

static void pass_on(switch_core_session_t *session, switch_frame_t *frame)
{
	host_call *call = session->call;
	pthread_mutex_lock(&call->mutex);
	char *peer = call->peer ? strdup(call->peer) : NULL;
	pthread_mutex_unlock(&call->mutex);
	switch_core_session_t *other = switch_core_session_perform_locate(peer, __FILE__, __func__, __LINE__);
	if (other) {
		switch_core_session_write_frame(other, frame, SWITCH_IO_FLAG_NONE, 0);
		switch_core_session_rwunlock(other);
	}
	free(peer);
}

static void *run_session(void *argument)
{
	host_call *call = argument;
	switch_core_session_t *session = call->session;
	on_session_thread = true;
	while (!channel_down(session->channel)) {
		run_applications(session);
		switch_frame_t *frame = NULL;
		switch_status_t status = switch_core_session_read_frame(session, &frame, SWITCH_IO_FLAG_NONE, 0);
		if (status != SWITCH_STATUS_SUCCESS && status != SWITCH_STATUS_BREAK) {
			break;
		}
		pthread_mutex_lock(&call->mutex);
		int kind = call->kind;
		pthread_mutex_unlock(&call->mutex);
		if (frame->data != session->raw_read_data) {
			continue;
		}
		if (kind == HOST_CALL_PLAYING) {
			play(session);
		} else if (kind == HOST_CALL_ECHO) {
			switch_core_session_write_frame(session, frame, SWITCH_IO_FLAG_NONE, 0);
		} else if (kind == HOST_CALL_BRIDGED) {
			pass_on(session, frame);
		}
	}
	channel_hangup(session->channel, 16);
	bugs_remove_all(session);
	session->channel->state = CS_REPORTING;
	session->channel->state = CS_DESTROY;
	pthread_mutex_lock(&call->mutex);
	call->session = NULL;
	pthread_mutex_unlock(&call->mutex);
	session_destroy(session);
	pthread_mutex_lock(&call->mutex);
	call->ended = true;
	pthread_cond_broadcast(&call->changed);
	pthread_mutex_unlock(&call->mutex);
	return NULL;
}

host_call *host_call_new(const struct host_call_options *options)
{
	host_call *call = calloc(1, sizeof(*call));
	pthread_mutex_init(&call->mutex, NULL);
	condition_init(&call->changed);
	call->uuid = strdup(options->uuid);
	call->kind = options->kind;
	call->virtual_clock = options->virtual_clock;
	call->comfort_noise = options->comfort_noise;
	call->next_frame_ns = now_ns();
	call->session = session_create(call->uuid, call);
	call->session->channel->refuses_media = options->refuses_media;
	channel_set_flag(call->session->channel, CF_ANSWERED, options->answered);
	session_set_codec(call->session, options->rate, options->ptime_ms, options->channels);
	call->session->codec_unsettled = options->codec_unsettled;
	if (thread_start(&call->thread, "session", run_session, call)) {
		abort();
	}
	return call;
}

void host_call_hangup(host_call *call)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		channel_hangup(session->channel, 16);
		switch_core_session_rwunlock(session);
	}
}

int host_call_wait_ended(host_call *call, uint32_t timeout_ms)
{
	struct timespec until = deadline(timeout_ms);
	pthread_mutex_lock(&call->mutex);
	while (!call->ended && !pthread_cond_timedwait(&call->changed, &call->mutex, &until)) {
	}
	int ended = call->ended;
	pthread_mutex_unlock(&call->mutex);
	return ended;
}

void host_call_free(host_call *call)
{
	host_call_hangup(call);
	pthread_join(call->thread, NULL);
	buffer_free(&call->speech);
	buffer_free(&call->file);
	buffer_free(&call->heard);
	buffer_free(&call->recorded);
	buffer_free(&call->heard_times);
	buffer_free(&call->heard_sizes);
	buffer_free(&call->pressed);
	for (struct queued_application *each = call->applications, *next; each; each = next) {
		next = each->next;
		free(each->name);
		free(each->data);
		free(each);
	}
	free(call->peer);
	free(call->uuid);
	pthread_cond_destroy(&call->changed);
	pthread_mutex_destroy(&call->mutex);
	free(call);
}

void host_call_set_kind(host_call *call, int kind)
{
	pthread_mutex_lock(&call->mutex);
	call->kind = kind;
	pthread_mutex_unlock(&call->mutex);
	if (kind != HOST_CALL_BRIDGED) {
		host_call_set_flag(call, CF_BRIDGED, 0);
	}
}

static void bridge_to(host_call *call, host_call *other)
{
	host_call_set_flag(call, CF_BRIDGED, 1);
	pthread_mutex_lock(&call->mutex);
	free(call->peer);
	call->peer = strdup(other->uuid);
	call->kind = HOST_CALL_BRIDGED;
	pthread_mutex_unlock(&call->mutex);
}

void host_call_bridge(host_call *a, host_call *b)
{
	bridge_to(a, b);
	bridge_to(b, a);
}

int host_call_tick(host_call *call, uint32_t frames, uint32_t timeout_ms)
{
	struct timespec until = deadline(timeout_ms);
	pthread_mutex_lock(&call->mutex);
	call->ticks += frames;
	call->waiting = false;
	pthread_cond_broadcast(&call->changed);
	int error = 0;
	while (!error && !call->ended && !(call->waiting && !call->ticks)) {
		error = pthread_cond_timedwait(&call->changed, &call->mutex, &until);
	}
	pthread_mutex_unlock(&call->mutex);
	return !error;
}

void host_call_answer(host_call *call, int early)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		channel_set_flag(session->channel, early ? CF_EARLY_MEDIA : CF_ANSWERED, true);
		const char *name = "Unique-ID", *uuid = call->uuid;
		host_fire_event(early ? SWITCH_EVENT_CHANNEL_PROGRESS_MEDIA : SWITCH_EVENT_CHANNEL_ANSWER, NULL, &name, &uuid, 1);
		switch_core_session_rwunlock(session);
	}
}

void host_call_settle_codec(host_call *call)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		session->codec_unsettled = false;
		switch_core_session_rwunlock(session);
	}
}

void host_call_set_codec(host_call *call, uint32_t rate, uint32_t ptime_ms, uint32_t channels)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		session_set_codec(session, rate, ptime_ms, channels);
		switch_core_session_rwunlock(session);
	}
}

void host_call_set_packets(host_call *call, uint32_t packet_ms)
{
	pthread_mutex_lock(&call->mutex);
	call->packet_ms = packet_ms;
	pthread_mutex_unlock(&call->mutex);
}

void host_call_set_flag(host_call *call, int flag, int value)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		channel_set_flag(session->channel, flag, value);
		switch_core_session_rwunlock(session);
	}
}

void host_call_lock_variables(host_call *call, int locked)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		(locked ? mutex_lock : mutex_unlock)(session->channel->profile_mutex);
		switch_core_session_rwunlock(session);
	}
}

int host_call_test_flag(host_call *call, int flag)
{
	switch_core_session_t *session = hold(call);
	int value = 0;
	if (session) {
		value = session->channel->flags[flag];
		switch_core_session_rwunlock(session);
	}
	return value;
}

void host_call_set_variable(host_call *call, const char *name, const char *value)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		switch_channel_set_variable_var_check(session->channel, name, value, SWITCH_FALSE);
		switch_core_session_rwunlock(session);
	}
}

char *host_call_get_variable(host_call *call, const char *name)
{
	switch_core_session_t *session = hold(call);
	char *copy = NULL;
	if (session) {
		const char *value = switch_channel_get_variable_dup(session->channel, name, SWITCH_TRUE, -1);
		copy = value ? strdup(value) : NULL;
		switch_core_session_rwunlock(session);
	}
	return copy;
}

/* The unit is a sample of 8 kHz, for RTP one of the codec's. */
static switch_dtmf_t digit(char digit, uint32_t duration_ms, uint32_t clock, switch_dtmf_source_t source)
{
	return (switch_dtmf_t){.digit = digit, .duration = duration_ms * (clock / 1000), .source = source};
}

void host_call_press(host_call *call, const char *digits, uint32_t duration_ms)
{
	switch_core_session_t *session = hold(call);
	if (!session) {
		return;
	}
	pthread_mutex_lock(&session->impl_mutex);
	uint32_t clock = session->read_impl.samples_per_second;
	pthread_mutex_unlock(&session->impl_mutex);
	switch_core_session_rwunlock(session);
	pthread_mutex_lock(&call->mutex);
	for (; *digits; digits++) {
		switch_dtmf_t dtmf = digit(*digits, duration_ms, clock, SWITCH_DTMF_RTP);
		buffer_write(&call->pressed, &dtmf, sizeof(dtmf));
	}
	pthread_mutex_unlock(&call->mutex);
}

void host_call_press_by_signalling(host_call *call, const char *digits, uint32_t duration_ms)
{
	switch_core_session_t *session = hold(call);
	if (session) {
		for (; *digits; digits++) {
			switch_dtmf_t dtmf = digit(*digits, duration_ms, 8000, SWITCH_DTMF_ENDPOINT);
			channel_queue_dtmf(session->channel, &dtmf);
		}
		switch_core_session_rwunlock(session);
	}
}

char *host_call_digits(host_call *call)
{
	switch_core_session_t *session = hold(call);
	char *text = NULL;
	if (session) {
		mutex_lock(session->channel->dtmf_mutex);
		struct buffer *digits = &session->channel->digits;
		/* The digits have no NUL behind them. */
		text = calloc(1, digits->used + 1);
		if (digits->used) {
			memcpy(text, digits->data, digits->used);
		}
		mutex_unlock(session->channel->dtmf_mutex);
		switch_core_session_rwunlock(session);
	}
	return text;
}

static void append(host_call *call, struct buffer *buffer, const int16_t *samples, size_t count)
{
	pthread_mutex_lock(&call->mutex);
	buffer_write(buffer, samples, count * sizeof(*samples));
	pthread_mutex_unlock(&call->mutex);
}

void host_call_speak(host_call *call, const int16_t *samples, size_t count)
{
	append(call, &call->speech, samples, count);
}

void host_call_play(host_call *call, const int16_t *samples, size_t count)
{
	append(call, &call->file, samples, count);
}

size_t host_call_unspoken(host_call *call)
{
	pthread_mutex_lock(&call->mutex);
	size_t count = call->speech.used / sizeof(int16_t);
	pthread_mutex_unlock(&call->mutex);
	return count;
}

static size_t copy_from(host_call *call, struct buffer *buffer, size_t from, int16_t *samples, size_t capacity)
{
	pthread_mutex_lock(&call->mutex);
	size_t total = buffer->used / sizeof(*samples), count = total > from ? total - from : 0;
	size_t copied = count < capacity ? count : capacity;
	if (copied) {
		memcpy(samples, (int16_t *)(void *)buffer->data + from, copied * sizeof(*samples));
	}
	pthread_mutex_unlock(&call->mutex);
	return count;
}

size_t host_call_heard(host_call *call, size_t from, int16_t *samples, size_t capacity)
{
	return copy_from(call, &call->heard, from, samples, capacity);
}

size_t host_call_heard_frames(host_call *call, int64_t *times, uint32_t *sizes, size_t capacity)
{
	pthread_mutex_lock(&call->mutex);
	size_t count = call->heard_times.used / sizeof(*times), copied = count < capacity ? count : capacity;
	if (copied) {
		memcpy(times, call->heard_times.data, copied * sizeof(*times));
		memcpy(sizes, call->heard_sizes.data, copied * sizeof(*sizes));
	}
	pthread_mutex_unlock(&call->mutex);
	return count;
}

uint64_t host_call_frames_read(host_call *call)
{
	pthread_mutex_lock(&call->mutex);
	uint64_t frames = call->frames_read;
	pthread_mutex_unlock(&call->mutex);
	return frames;
}

int64_t host_call_latest_ns(host_call *call)
{
	pthread_mutex_lock(&call->mutex);
	int64_t latest = call->latest_ns;
	pthread_mutex_unlock(&call->mutex);
	return latest;
}

void host_call_execute(host_call *call, const char *application, const char *data)
{
	struct queued_application *queued = calloc(1, sizeof(*queued));
	queued->name = strdup(application);
	queued->data = data ? strdup(data) : NULL;
	pthread_mutex_lock(&call->mutex);
	struct queued_application **place = &call->applications;
	while (*place) {
		place = &(*place)->next;
	}
	*place = queued;
	pthread_cond_broadcast(&call->changed);
	pthread_mutex_unlock(&call->mutex);
}

uint32_t host_call_executed(host_call *call)
{
	pthread_mutex_lock(&call->mutex);
	uint32_t executed = call->executed;
	pthread_mutex_unlock(&call->mutex);
	return executed;
}

uint32_t host_call_bugs(host_call *call)
{
	uint32_t count = 0;
	switch_core_session_t *session = hold(call);
	if (session) {
		pthread_rwlock_rdlock(&session->bug_rwlock);
		for (switch_media_bug_t *bug = session->bugs; bug; bug = bug->next) {
			count++;
		}
		pthread_rwlock_unlock(&session->bug_rwlock);
		switch_core_session_rwunlock(session);
	}
	return count;
}

static switch_bool_t recorder(switch_media_bug_t *bug, void *user_data, switch_abc_type_t type)
{
	host_call *call = user_data;
	if (type == SWITCH_ABC_TYPE_READ) {
		_Alignas(8) uint8_t data[SWITCH_RECOMMENDED_BUFFER_SIZE * 2];
		switch_frame_t frame = {.data = data, .buflen = sizeof(data) / 2};
		for (int first = 1; switch_core_media_bug_read(bug, &frame, first ? SWITCH_FALSE : SWITCH_TRUE) ==
							SWITCH_STATUS_SUCCESS;
			 first = 0) {
			pthread_mutex_lock(&call->mutex);
			buffer_write(&call->recorded, frame.data, frame.datalen);
			pthread_mutex_unlock(&call->mutex);
		}
	}
	return SWITCH_TRUE;
}

void host_call_keep_nothing(host_call *call)
{
	pthread_mutex_lock(&call->mutex);
	call->keeps_nothing = true;
	pthread_mutex_unlock(&call->mutex);
}

int host_call_record(host_call *call)
{
	switch_core_session_t *session = hold(call);
	if (!session) {
		return 0;
	}
	switch_media_bug_t *bug = NULL;
	switch_status_t status = switch_core_media_bug_add(session, "session_record", "recording", recorder, call, 0,
													   SMBF_READ_STREAM | SMBF_WRITE_STREAM | SMBF_STEREO, &bug);
	switch_core_session_rwunlock(session);
	return status == SWITCH_STATUS_SUCCESS;
}

size_t host_call_recorded(host_call *call, int16_t *samples, size_t capacity)
{
	return copy_from(call, &call->recorded, 0, samples, capacity);
}
