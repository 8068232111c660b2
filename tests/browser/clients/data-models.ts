enum MessageType {
  CHAT = 'chat',
  NOTIFICATION = 'notification',
  REQUEST_NOTIFICATION = 'request-notification',
  CHAT_NOTIFICATION = 'chat-notification',
  CONNECTION_STATUS = 'connection-status',
  MESSAGE_STATUS = 'message-status',
  ERROR = 'error'
}

enum ConnectionStatus {
  ESTABLISHED = 'established'
}

enum MessageStatus {
  SENT = 'sent',
  DELIVERED = 'delivered',
  READ = 'read'
}

// Message structures
interface ConnectionStatusInfo {
  message: ConnectionStatusMessage;
  type: MessageType;
}

interface ConnectionStatusMessage {
  status: ConnectionStatus;
  timestamp: string;
}

interface ChatMessage {
  message: Message;
  type: MessageType;
}

interface Message {
  message_id: string;
  chat_id: string;
  sender_id: string;
  content: string;
  sent_at: string;
  recipients?: MessageRecipientStatus[];
}

interface MessageRecipientStatus {
  message_id: string;
  recipient_id: string;
  status: MessageStatus;
  updated_at: string;
}

interface StatusMessage {
  message: MessageStatusConfirmation;
  type: MessageType;
}

interface MessageStatusConfirmation {
  message_id: string;
  client_message_id?: string;
  status: MessageStatus;
  recipient_id?: string;
  chat_id?: string;
  sender_id?: string;
  timestamp: string;
}

interface FriendRequestNotificationMessage {
  message: FriendRequestNotification;
  type: MessageType;
}

interface FriendRequestNotification {
  request_id: string;
  sender_id: string;
  receiver_id: string;
  status: string;
  timestamp: string;
}

interface ChatCreationNotificationMessage {
  message: ChatCreationNotification;
  type: MessageType;
}

interface ChatCreationNotification {
  chat_id: string;
  creator_id: string;
  name?: string;
  is_group: boolean;
  timestamp: string;
  members?: string[];
  action?: string;
}

interface ErrorMessage {
  message: ErrorMessageContent;
  type: MessageType;
}

interface ErrorMessageContent {
  error: string;
  timestamp: string;
}
