class WebSocketManager {
  private ws: WebSocket | null = null;
  private reconnectAttempts = 0;
  private maxReconnectAttempts = 5;
  private reconnectDelay = 1000;

  constructor(private authToken: string) {}

  connect() {
    try {
      // Connect to WebSocket endpoint
      this.ws = new WebSocket(`ws://localhost:8080/api/v1/ws`);
      
      // Set up event handlers
      this.setupEventHandlers();
      
      // Send authentication header (if needed)
      this.authenticate();
      
    } catch (error) {
      console.error('WebSocket connection failed:', error);
      this.handleReconnect();
    }
  }

  private setupEventHandlers() {
    if (!this.ws) return;

    this.ws.onopen = () => {
      console.log('WebSocket connected');
      this.reconnectAttempts = 0;
      this.emit('connected');
    };

    this.ws.onmessage = (event) => {
      try {
        const data = JSON.parse(event.data);
        this.handleMessage(data);
      } catch (error) {
        console.error('Failed to parse message:', error);
      }
    };

    this.ws.onclose = (event) => {
      console.log('WebSocket disconnected:', event.code, event.reason);
      this.emit('disconnected', event);
      this.handleReconnect();
    };

    this.ws.onerror = (error) => {
      console.error('WebSocket error:', error);
      this.emit('error', error);
    };
  }

  private authenticate() {
    // Send authentication message if required
    if (this.ws && this.ws.readyState === WebSocket.OPEN) {
      const authMessage = {
        type: 'authentication',
        token: this.authToken
      };
      this.send(authMessage);
    }
  }

  private handleMessage(data: any) {
    switch (data.type) {
      case 'connection-status':
        this.handleConnectionStatus(data.message);
        break;
      case 'chat':
        this.handleChatMessage(data.message);
        break;
      case 'message-status':
        this.handleMessageStatus(data.message);
        break;
      case 'request-notification':
        this.handleFriendRequest(data.message);
        break;
      case 'chat-notification':
        this.handleChatNotification(data.message);
        break;
      case 'error':
        this.handleError(data.message);
        break;
      default:
        console.warn('Unknown message type:', data.type);
    }
  }

  private handleConnectionStatus(message: any) {
    if (message.status === 'established') {
      console.log('Connection established at:', message.timestamp);
      this.emit('connection-established', message);
    }
  }

  private handleChatMessage(message: any) {
    // Handle incoming chat message
    this.emit('chat-message', message);
  }

  private handleMessageStatus(message: any) {
    // Handle message delivery status
    this.emit('message-status', message);
  }

  private handleFriendRequest(message: any) {
    // Handle friend request notification
    this.emit('friend-request', message);
  }

  private handleChatNotification(message: any) {
    // Handle chat creation/deletion notifications
    this.emit('chat-notification', message);
  }

  private handleError(message: any) {
    console.error('Server error:', message.error);
    this.emit('server-error', message);
  }

  send(data: any) {
    if (this.ws && this.ws.readyState === WebSocket.OPEN) {
      this.ws.send(JSON.stringify(data));
    } else {
      console.warn('WebSocket not connected');
    }
  }

  private handleReconnect() {
    if (this.reconnectAttempts < this.maxReconnectAttempts) {
      this.reconnectAttempts++;
      const delay = this.reconnectDelay * Math.pow(2, this.reconnectAttempts - 1);
      
      console.log(`Reconnecting in ${delay}ms (attempt ${this.reconnectAttempts})`);
      
      setTimeout(() => {
        this.connect();
      }, delay);
    } else {
      console.error('Max reconnection attempts reached');
      this.emit('reconnection-failed');
    }
  }

  disconnect() {
    if (this.ws) {
      this.ws.close(1000, 'User initiated disconnect');
      this.ws = null;
    }
  }

  // Event emitter methods
  private listeners: { [key: string]: Function[] } = {};

  on(event: string, callback: Function) {
    if (!this.listeners[event]) {
      this.listeners[event] = [];
    }
    this.listeners[event].push(callback);
  }

  private emit(event: string, data?: any) {
    if (this.listeners[event]) {
      this.listeners[event].forEach(callback => callback(data));
    }
  }
}
