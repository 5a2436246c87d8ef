/* Media bugs: attaching and detaching, what a packet's passage calls, and taking aligned audio out of one.
 *
 * The order of locks and callbacks is FreeSWITCH's: READ under the session's codec read mutex, the list's read lock and the
 * bug's own mutex; WRITE_REPLACE under the codec write mutex and the list's read lock; CLOSE after unlinking, without
 * locks from switch_core_media_bug_remove and pruning, under the list's write lock when the session ends. */
#include "host.h"

#include <string.h>
#include <strings.h>

_Thread_local int in_media_callback;

static struct {
	void (*enter)(void), (*leave)(void);
} watch;

void host_watch_callbacks(void (*enter)(void), void (*leave)(void))
{
	watch.enter = enter;
	watch.leave = leave;
}

void watch_enter(void)
{
	if (watch.enter) {
		watch.enter();
	}
}

void watch_leave(void)
{
	if (watch.leave) {
		watch.leave();
	}
}

static switch_bool_t call_back(switch_media_bug_t *bug, switch_abc_type_t type)
{
	bool media = type != SWITCH_ABC_TYPE_INIT && type != SWITCH_ABC_TYPE_CLOSE;
	bool watched = media && strcmp(bug->function, "session_record");
	in_media_callback += media;
	if (watched) {
		watch_enter();
	}
	switch_bool_t ok = bug->callback ? bug->callback(bug, bug->user_data, type) : SWITCH_TRUE;
	if (watched) {
		watch_leave();
	}
	in_media_callback -= media;
	return ok;
}

/* Frees what the pool does not. */
static void destroy(switch_media_bug_t *bug)
{
	buffer_free(&bug->raw_read_buffer);
	buffer_free(&bug->raw_write_buffer);
}

switch_status_t switch_core_media_bug_add(switch_core_session_t *session, const char *function, const char *target,
										  switch_media_bug_callback_t callback, void *user_data, time_t stop_time,
										  switch_media_bug_flag_t flags, switch_media_bug_t **new_bug)
{
	if (function && (flags & SMBF_ONE_ONLY)) {
		bool taken = false;
		pthread_rwlock_wrlock(&session->bug_rwlock);
		for (switch_media_bug_t *bug = session->bugs; bug; bug = bug->next) {
			taken = taken || !strcasecmp(function, bug->function);
		}
		pthread_rwlock_unlock(&session->bug_rwlock);
		if (taken) {
			return SWITCH_STATUS_GENERR;
		}
	}
	if (!switch_channel_test_ready(session->channel, SWITCH_TRUE, SWITCH_TRUE) &&
		switch_channel_perform_pre_answer(session->channel, __FILE__, __func__, __LINE__) != SWITCH_STATUS_SUCCESS) {
		switch_log_printf(SWITCH_CHANNEL_ID_SESSION, __FILE__, __func__, __LINE__, (const char *)session,
						  SWITCH_LOG_ERROR, "Cannot establish media. Media bug add failed.\n");
		return SWITCH_STATUS_FALSE;
	}
	*new_bug = NULL;
	switch_media_bug_t *bug = pool_alloc(session->pool, sizeof(*bug));
	bug->callback = callback;
	bug->user_data = user_data;
	bug->session = session;
	bug->function = pool_strdup(session->pool, function ? function : "N/A");
	bug->target = pool_strdup(session->pool, target ? target : "N/A");
	bug->stop_time = stop_time;
	bug->flags = flags ? flags : (switch_media_bug_flag_t)(SMBF_READ_STREAM | SMBF_WRITE_STREAM);
	bug->read_mutex = mutex_new(session->pool);
	bug->write_mutex = mutex_new(session->pool);
	mutex_lock(bug->read_mutex);
	bug->raw_read_buffer.limit = HOST_BUG_BUFFER;
	mutex_unlock(bug->read_mutex);
	mutex_lock(bug->write_mutex);
	bug->raw_write_buffer.limit = HOST_BUG_BUFFER;
	mutex_unlock(bug->write_mutex);
	if (bug->flags & SMBF_THREAD_LOCK) {
		bug->thread_id = pthread_self();
	}
	if (call_back(bug, SWITCH_ABC_TYPE_INIT) == SWITCH_FALSE) {
		destroy(bug);
		switch_log_printf(SWITCH_CHANNEL_ID_SESSION, __FILE__, __func__, __LINE__, (const char *)session,
						  SWITCH_LOG_ERROR, "Error attaching BUG to %s\n", session->channel->name);
		return SWITCH_STATUS_GENERR;
	}
	bug->ready = true;
	pthread_rwlock_wrlock(&session->bug_rwlock);
	switch_media_bug_t **place = &session->bugs;
	if (!(bug->flags & SMBF_FIRST)) {
		while (*place) {
			place = &(*place)->next;
		}
	}
	bug->next = *place;
	*place = bug;
	pthread_rwlock_unlock(&session->bug_rwlock);
	*new_bug = bug;
	return SWITCH_STATUS_SUCCESS;
}

static bool locked_to_other_thread(switch_media_bug_t *bug)
{
	return bug->thread_id && !pthread_equal(bug->thread_id, pthread_self());
}

static switch_status_t close_bug(switch_media_bug_t *bug, bool and_destroy)
{
	if (locked_to_other_thread(bug) || (bug->flags & SMBF_LOCK)) {
		return SWITCH_STATUS_FALSE;
	}
	call_back(bug, SWITCH_ABC_TYPE_CLOSE);
	bug->ready = false;
	if (and_destroy) {
		destroy(bug);
	}
	return SWITCH_STATUS_SUCCESS;
}

switch_status_t switch_core_media_bug_remove(switch_core_session_t *session, switch_media_bug_t **bug)
{
	switch_media_bug_t *wanted = *bug, *found = NULL;
	if (wanted->flags & SMBF_LOCK) {
		return SWITCH_STATUS_FALSE;
	}
	pthread_rwlock_wrlock(&session->bug_rwlock);
	for (switch_media_bug_t **place = &session->bugs; *place; place = &(*place)->next) {
		if (*place == wanted && wanted->ready && !locked_to_other_thread(wanted)) {
			found = wanted;
			*place = found->next;
			break;
		}
	}
	pthread_rwlock_unlock(&session->bug_rwlock);
	return found ? close_bug(found, true) : SWITCH_STATUS_FALSE;
}

static void prune(switch_core_session_t *session)
{
	for (;;) {
		switch_media_bug_t *found = NULL;
		pthread_rwlock_wrlock(&session->bug_rwlock);
		for (switch_media_bug_t **place = &session->bugs; *place; place = &(*place)->next) {
			if ((*place)->flags & SMBF_PRUNE) {
				found = *place;
				*place = found->next;
				break;
			}
		}
		pthread_rwlock_unlock(&session->bug_rwlock);
		if (!found) {
			return;
		}
		found->flags &= ~(unsigned)SMBF_LOCK;
		found->thread_id = 0;
		close_bug(found, true);
	}
}

void bugs_remove_all(switch_core_session_t *session)
{
	pthread_rwlock_wrlock(&session->bug_rwlock);
	switch_media_bug_t *closed = session->bugs;
	session->bugs = NULL;
	for (switch_media_bug_t *bug = closed; bug; bug = bug->next) {
		bug->thread_id = 0;
		bug->flags &= ~(unsigned)SMBF_LOCK;
		close_bug(bug, false);
	}
	pthread_rwlock_unlock(&session->bug_rwlock);
	for (switch_media_bug_t *bug = closed; bug; bug = bug->next) {
		destroy(bug);
	}
}

void switch_core_media_bug_flush(switch_media_bug_t *bug)
{
	mutex_lock(bug->read_mutex);
	bug->raw_read_buffer.used = 0;
	mutex_unlock(bug->read_mutex);
	mutex_lock(bug->write_mutex);
	bug->raw_write_buffer.used = 0;
	mutex_unlock(bug->write_mutex);
	bug->record_frame_size = 0;
}

void bugs_flush_all(switch_core_session_t *session)
{
	pthread_rwlock_wrlock(&session->bug_rwlock);
	for (switch_media_bug_t *bug = session->bugs; bug; bug = bug->next) {
		switch_core_media_bug_flush(bug);
	}
	pthread_rwlock_unlock(&session->bug_rwlock);
}

/* Whether a packet passes the bug by. */
static bool passed_over(switch_media_bug_t *bug, bool reading, int *to_prune)
{
	switch_channel_t *channel = bug->session->channel;
	if ((bug->flags & SMBF_PAUSE) || (channel->flags[CF_PAUSE_BUGS] && !(bug->flags & SMBF_NO_PAUSE))) {
		return true;
	}
	if (!channel->flags[CF_ANSWERED] && (bug->flags & SMBF_ANSWER_REQ)) {
		return true;
	}
	if (reading && !channel->flags[CF_BRIDGED] && (bug->flags & SMBF_BRIDGE_REQ)) {
		return true;
	}
	if (bug->flags & SMBF_PRUNE) {
		++*to_prune;
		return true;
	}
	return !bug->ready;
}

static void judge(switch_media_bug_t *bug, switch_bool_t ok, int *to_prune)
{
	if (ok == SWITCH_FALSE || (bug->stop_time && bug->stop_time <= time(NULL))) {
		bug->flags |= SMBF_PRUNE;
		++*to_prune;
	}
}

void bugs_read(switch_core_session_t *session, switch_frame_t *frame)
{
	int to_prune = 0;
	pthread_rwlock_rdlock(&session->bug_rwlock);
	/* Comfort noise is made audio for the bugs alone. */
	if (session->bugs && (frame->flags & SFF_CNG)) {
		memset(frame->data, 255, session->read_impl.decoded_bytes_per_packet);
		frame->datalen = session->read_impl.decoded_bytes_per_packet;
	}
	for (switch_media_bug_t *bug = session->bugs; bug; bug = bug->next) {
		if (passed_over(bug, true, &to_prune)) {
			continue;
		}
		switch_bool_t ok = SWITCH_TRUE;
		if (bug->flags & SMBF_READ_STREAM) {
			mutex_lock(bug->read_mutex);
			buffer_write(&bug->raw_read_buffer, frame->data, frame->datalen);
			ok = call_back(bug, SWITCH_ABC_TYPE_READ);
			mutex_unlock(bug->read_mutex);
		}
		judge(bug, ok, &to_prune);
	}
	pthread_rwlock_unlock(&session->bug_rwlock);
	if (to_prune) {
		prune(session);
	}
}

switch_frame_t *bugs_write(switch_core_session_t *session, switch_frame_t *frame, bool *replaced)
{
	int to_prune = 0;
	pthread_rwlock_rdlock(&session->bug_rwlock);
	for (switch_media_bug_t *bug = session->bugs; bug; bug = bug->next) {
		if (passed_over(bug, false, &to_prune)) {
			continue;
		}
		switch_bool_t ok = SWITCH_TRUE;
		if (bug->flags & SMBF_WRITE_STREAM) {
			mutex_lock(bug->write_mutex);
			buffer_write(&bug->raw_write_buffer, frame->data, frame->datalen);
			mutex_unlock(bug->write_mutex);
			ok = call_back(bug, SWITCH_ABC_TYPE_WRITE);
		}
		if (bug->flags & SMBF_WRITE_REPLACE) {
			*replaced = true;
			mutex_lock(bug->write_mutex);
			bug->write_replace_frame_in = frame;
			bug->write_replace_frame_out = frame;
			mutex_unlock(bug->write_mutex);
			if ((ok = call_back(bug, SWITCH_ABC_TYPE_WRITE_REPLACE)) == SWITCH_TRUE) {
				frame = bug->write_replace_frame_out;
			}
		}
		judge(bug, ok, &to_prune);
	}
	pthread_rwlock_unlock(&session->bug_rwlock);
	if (to_prune) {
		prune(session);
	}
	return frame;
}

switch_core_session_t *switch_core_media_bug_get_session(switch_media_bug_t *bug)
{
	return bug->session;
}

void *switch_core_media_bug_get_user_data(switch_media_bug_t *bug)
{
	return bug->user_data;
}

switch_frame_t *switch_core_media_bug_get_write_replace_frame(switch_media_bug_t *bug)
{
	return bug->write_replace_frame_in;
}

void switch_core_media_bug_set_write_replace_frame(switch_media_bug_t *bug, switch_frame_t *frame)
{
	bug->write_replace_frame_out = frame;
}

static size_t in_use(struct buffer *buffer, switch_mutex_t *mutex)
{
	mutex_lock(mutex);
	size_t used = buffer->used;
	mutex_unlock(mutex);
	return used;
}

static size_t take(struct buffer *buffer, switch_mutex_t *mutex, void *data, size_t size)
{
	mutex_lock(mutex);
	size_t taken = buffer_read(buffer, data, size);
	mutex_unlock(mutex);
	return taken;
}

static int16_t saturate(int32_t sample)
{
	return sample > INT16_MAX ? INT16_MAX : sample < INT16_MIN ? INT16_MIN : (int16_t)sample;
}

void switch_core_media_bug_inuse(switch_media_bug_t *bug, switch_size_t *readp, switch_size_t *writep)
{
	*readp = bug->flags & SMBF_READ_STREAM ? in_use(&bug->raw_read_buffer, bug->read_mutex) : 0;
	*writep = bug->flags & SMBF_WRITE_STREAM ? in_use(&bug->raw_write_buffer, bug->write_mutex) : 0;
}

/* One packet, aligned: what one direction lacks is filled with bytes of 255 (samples of -1), or, with `fill`, waited for;
 * when the write side has run ahead by more than two packets it loses one. */
switch_status_t switch_core_media_bug_read(switch_media_bug_t *bug, switch_frame_t *frame, switch_bool_t fill)
{
	switch_codec_implementation_t impl;
	switch_core_session_get_read_impl(bug->session, &impl);
	size_t bytes = impl.decoded_bytes_per_packet;
	bool has_read = bug->flags & SMBF_READ_STREAM, has_write = bug->flags & SMBF_WRITE_STREAM;
	if (frame->buflen < bytes || (!has_read && !has_write)) {
		switch_log_printf(SWITCH_CHANNEL_ID_SESSION, __FILE__, __func__, __LINE__, (const char *)bug->session,
						  SWITCH_LOG_ERROR, "%s frame buffer too small!\n", bug->session->channel->name);
		return SWITCH_STATUS_FALSE;
	}
	frame->flags = 0;
	frame->datalen = 0;
	size_t to_read = has_read ? in_use(&bug->raw_read_buffer, bug->read_mutex) : 0;
	size_t to_write = has_write ? in_use(&bug->raw_write_buffer, bug->write_mutex) : 0;
	bug->record_frame_size = (uint32_t)bytes;
	if (bytes && to_write > to_read && to_write > bytes * 2) {
		take(&bug->raw_write_buffer, bug->write_mutex, NULL, bytes);
		to_write = in_use(&bug->raw_write_buffer, bug->write_mutex);
	}
	bool fill_read = has_read && !to_read, fill_write = has_write && !to_write;
	if (bytes) {
		if ((to_read && to_read < bytes) || (to_write && to_write < bytes)) {
			return SWITCH_STATUS_FALSE;
		}
		to_read = to_read ? bytes : 0;
		to_write = to_write ? bytes : 0;
	}
	if ((fill_read && fill_write) || (fill && (fill_read || fill_write))) {
		return SWITCH_STATUS_FALSE;
	}
	size_t write_bytes = 0;
	if (to_read) {
		frame->datalen = (uint32_t)take(&bug->raw_read_buffer, bug->read_mutex, frame->data, to_read);
	} else if (fill_read) {
		frame->datalen = (uint32_t)bytes;
		memset(frame->data, 255, bytes);
	}
	if (to_write) {
		write_bytes = take(&bug->raw_write_buffer, bug->write_mutex, bug->data, to_write);
	} else if (fill_write) {
		write_bytes = bytes;
		memset(bug->data, 255, bytes);
	}
	int16_t *read_samples = frame->data, *write_samples = (int16_t *)(void *)bug->data;
	size_t read_count = frame->datalen / 2, write_count = write_bytes / 2, count = bytes / 2;
	if (bug->flags & SMBF_STEREO) {
		bool swap = bug->flags & SMBF_STEREO_SWAP;
		for (size_t i = 0; i < count; i++) {
			int16_t caller = i < read_count ? read_samples[i] : 0, other = i < write_count ? write_samples[i] : 0;
			bug->tmp[2 * i] = swap ? other : caller;
			bug->tmp[2 * i + 1] = swap ? caller : other;
		}
		memcpy(frame->data, bug->tmp, bytes * 2);
	} else {
		for (size_t i = 0; i < count; i++) {
			int32_t caller = i < read_count ? read_samples[i] : 0, other = i < write_count ? write_samples[i] : 0;
			read_samples[i] = saturate(caller + other);
		}
	}
	frame->samples = (uint32_t)(count / impl.number_of_channels);
	frame->rate = impl.actual_samples_per_second;
	frame->codec = NULL;
	frame->datalen = (uint32_t)(bug->flags & SMBF_STEREO ? bytes * 2 : bytes);
	frame->channels = bug->flags & SMBF_STEREO ? 2 : impl.number_of_channels;
	return SWITCH_STATUS_SUCCESS;
}
